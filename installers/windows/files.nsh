; Files that may be in use: programs and libraries that run while they are replaced or removed.
;
; Windows lets a running program be renamed and not be removed; so what is in the way is renamed, and
; removed at once or at the next start of the computer.

; Scanners of viruses hold a program's file a little longer than the program lives.
!define FILE_SECONDS 10

; Renames a file so that its name is free; $Answer: the name it has then, nothing if it cannot be.
!define MoveAside '!insertmacro Call1 MoveAside'
; Removes a file, at the next start of the computer if it is in use.
!define Remove '!insertmacro Call1 Remove'
; Removes what an earlier MoveAside has left of a file.
!define RemoveAside '!insertmacro Call1 RemoveAside'

!macro FileFunctions UN

Function ${UN}MoveAside
  System::Store S
  StrCpy $0 $ArgA
  StrCpy $Answer ""
  IntOp $3 ${FILE_SECONDS} * 4
  ${Do}
    ; A name can be taken by a file that waits for the next start of the computer.
    ${For} $1 1 9
      Delete "$0.old$1"
      ${IfNot} ${FileExists} "$0.old$1"
        ClearErrors
        Rename $0 "$0.old$1"
        ${IfNot} ${Errors}
          StrCpy $Answer "$0.old$1"
        ${EndIf}
        ${Break}
      ${EndIf}
    ${Next}
    IntOp $3 $3 - 1
    ${If} $Answer != ""
    ${OrIf} $3 < 0
      ${Break}
    ${EndIf}
    Sleep 250
  ${Loop}
  ClearErrors
  System::Store L
FunctionEnd

Function ${UN}Remove
  System::Store S
  StrCpy $0 $ArgA
  ${If} ${FileExists} $0
    ClearErrors
    Delete $0
    ${If} ${Errors}
      ; Under another name it is out of the way of the next installation.
      ${MoveAside} $0
      ${If} $Answer != ""
        StrCpy $0 $Answer
      ${EndIf}
      Delete /REBOOTOK $0
      ${Say} "$(TextLater) $0"
    ${EndIf}
  ${EndIf}
  ClearErrors
  System::Store L
FunctionEnd

Function ${UN}RemoveAside
  System::Store S
  StrCpy $0 $ArgA
  ${For} $1 1 9
    ${If} ${FileExists} "$0.old$1"
      Delete /REBOOTOK "$0.old$1"
    ${EndIf}
  ${Next}
  ClearErrors
  System::Store L
FunctionEnd

; Removes the folder of the programs and those above it that are ours, as far as they are empty.
Function ${UN}RemoveFolder
  System::Store S
  StrCpy $0 $ArgA
  ${If} ${RebootFlag}
    RMDir /REBOOTOK $0
  ${Else}
    RMDir $0
  ${EndIf}
  StrCpy $1 $0 "" -16
  ${If} $1 == "\1C\Licence\v3.0"
    StrCpy $1 $0 -5
    RMDir $1
    StrCpy $1 $1 -8
    RMDir $1
  ${EndIf}
  ClearErrors
  System::Store L
FunctionEnd

!macroend
