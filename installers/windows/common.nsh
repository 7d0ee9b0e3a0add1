; What both installers share: switches, exit codes, boxes, log, the check of versions.
;
; Decides how an installer is talked to and how it ends; what is installed is decided in
; licenceserver.nsi and licenceaddin.nsi. Nothing here goes to the network.
;
; Given by the packer (crates/xtask/src/dist/nsis) with -D:
;   PRODUCT           licenceserver or licenceaddin
;   VERSION           as people read it
;   VERSION_KEY       a text whose ordinal order is the order of versions
;   VERSION_NUMBERS   four numbers for the version resource
;   SOURCE            folder of the files to be packed
;   OUT               the installer
;   SIGN_SCRIPT       a shell script that signs the file it is given; may be absent
;
; Exit codes (the manual, «Коды возврата»):
;   0 done, 1 not begun, 2 cancelled by the user, 3 preparing failed and nothing was changed,
;   4 installing failed and what was there before serves again, 5 that failed too,
;   7 other processes are in the way, 8 done but for a restart of the computer,
;   100 the same or a later version is there.

Unicode true
; A function of those that both sides share may be needed by one side of one installer alone.
!pragma warning disable 6010
SetCompressor /SOLID lzma
RequestExecutionLevel admin
ManifestDPIAware true
ManifestSupportedOS all
AllowRootDirInstall false
BrandingText " "
OutFile "${OUT}"

!include LogicLib.nsh
!include FileFunc.nsh
!include WinVer.nsh
!include x64.nsh
!include MUI2.nsh

!ifdef SIGN_SCRIPT
  !uninstfinalize 'sh "${SIGN_SCRIPT}" "%1"' = 0
!endif

!define UNINSTALL_KEY "Software\Microsoft\Windows\CurrentVersion\Uninstall\${PRODUCT}"
!define PUBLISHER "The licenceserver authors"

Var Mode            ; wizard, progress or hidden
Var Boxes           ; 1: boxes may be shown
Var CloseRunning    ; 1: processes in the way may be ended
Var PurgeData       ; 1: the data are removed as well
Var SwitchFolder    ; folder named by /Dir=
Var SwitchLanguage  ; language named by /Lang=
Var LogName         ; file named by /Log=
Var LogHandle
Var ArgA            ; arguments of the functions below, and what they answer
Var ArgB
Var Answer

; Calls a function that exists for the installer and for the uninstaller.
!macro Shared NAME
  !ifdef __UNINSTALL__
    Call un.${NAME}
  !else
    Call ${NAME}
  !endif
!macroend
!define Shared '!insertmacro Shared'

!macro Call1 NAME A
  StrCpy $ArgA `${A}`
  ${Shared} ${NAME}
!macroend

; A line for the window's details and for the log.
!define Say '!insertmacro Call1 Say'

; Ends everything with this exit code and, where boxes are shown, this text.
!macro Fail CODE TEXT
  StrCpy $ArgA ${CODE}
  StrCpy $ArgB `${TEXT}`
  ${Shared} Fail
!macroend
!define Fail '!insertmacro Fail'

; Runs a program without a window, with what it prints as lines; $Answer: its exit code or `error`.
!define Run '!insertmacro Call1 Run'

; A start may take two minutes (services.nsh), and a program that hangs must not hold up a roll-out.
!define RUN_MILLISECONDS 180000

!include files.nsh
!include services.nsh

!macro CommonFunctions UN

Function ${UN}Say
  DetailPrint $ArgA
  ${If} $LogHandle != ""
    FileWriteUTF16LE $LogHandle "$ArgA$\r$\n"
  ${EndIf}
FunctionEnd

; Never returns.
Function ${UN}Fail
  StrCpy $0 $ArgA
  StrCpy $1 $ArgB
  ${Say} "$1 ($0)"
  ${If} $LogHandle != ""
    FileClose $LogHandle
    StrCpy $LogHandle ""
  ${EndIf}
  ${If} $Boxes = 1
    MessageBox MB_OK|MB_ICONEXCLAMATION $1 /SD IDOK
  ${EndIf}
  SetErrorLevel $0
  ; The wizard shows what it did; without one nobody could close the page.
  ${If} $Mode == wizard
    Abort
  ${EndIf}
  Quit
FunctionEnd

Function ${UN}Run
  System::Store S
  ${Say} "$ArgA"
  nsExec::ExecToStack /OEM /TIMEOUT=${RUN_MILLISECONDS} $ArgA
  Pop $Answer
  Pop $0
  ; The plug-in takes what was printed for text in the console's encoding; our programs print UTF-8.
  System::Alloc 8192
  Pop $1
  System::Call 'kernel32::WideCharToMultiByte(i 1, i 0, w r0, i -1, p r1, i 8192, p 0, p 0) i .r2'
  System::Call 'kernel32::MultiByteToWideChar(i 65001, i 8, p r1, i -1, w .r3, i ${NSIS_MAX_STRLEN}) i .r2'
  System::Free $1
  ${If} $2 > 0
    StrCpy $0 $3
  ${EndIf}
  ${Say} "$Answer $0"
  System::Store L
FunctionEnd

; Reads the command line. The stub's own reading knows `/S` and `/D=` in these very letters only,
; and its library takes every switch that begins like another for that one.
Function ${UN}ReadSwitches
  Push $0 ; what is left of the line
  Push $1 ; the word
  Push $2 ; a character, then the word's beginning
  Push $3 ; 1 inside quotation marks
  ${GetParameters} $0
  ${Do}
    ${If} $0 == ""
      ${Break}
    ${EndIf}
    StrCpy $2 $0 1
    ${If} $2 == " "
      StrCpy $0 $0 "" 1
      ${Continue}
    ${EndIf}
    ; The stub has read these, and they go on to the end of the line.
    StrCpy $2 $0 3
    ${If} $2 S== "/D="
    ${OrIf} $2 S== "_?="
      ${Break}
    ${EndIf}
    StrCpy $1 ""
    StrCpy $3 0
    ${Do}
      StrCpy $2 $0 1
      ${If} $2 == ""
        ${Break}
      ${EndIf}
      ${If} $2 == " "
      ${AndIf} $3 = 0
        ${Break}
      ${EndIf}
      ${If} $2 == '"'
        IntOp $3 1 - $3
      ${Else}
        StrCpy $1 "$1$2"
      ${EndIf}
      StrCpy $0 $0 "" 1
    ${Loop}
    ; `==` of texts ignores case.
    ${If} $1 == "/verysilent"
    ${OrIf} $1 == "/s"
      StrCpy $Mode hidden
    ${ElseIf} $1 == "/silent"
      ${If} $Mode == wizard
        StrCpy $Mode progress
      ${EndIf}
    ${ElseIf} $1 == "/suppressmsgboxes"
      StrCpy $Boxes 0
    ${ElseIf} $1 == "/closerunning"
      StrCpy $CloseRunning 1
    ${ElseIf} $1 == "/purgedata"
      StrCpy $PurgeData 1
    ${EndIf}
    StrCpy $2 $1 5
    ${If} $2 == "/dir="
      StrCpy $SwitchFolder $1 "" 5
    ${ElseIf} $2 == "/log="
      StrCpy $LogName $1 "" 5
    ${EndIf}
    ; In quotation marks, which the stub does not know, or in small letters.
    StrCpy $2 $1 3
    ${If} $2 == "/d="
      StrCpy $SwitchFolder $1 "" 3
    ${EndIf}
    StrCpy $2 $1 6
    ${If} $2 == "/lang="
      StrCpy $SwitchLanguage $1 "" 6
    ${EndIf}
    ; Anything else is let pass: scripts of other installers give /NORESTART and the like.
  ${Loop}
  Pop $3
  Pop $2
  Pop $1
  Pop $0
FunctionEnd

; What must be settled before anything is shown or changed.
Function ${UN}Begin
  Push $0
  Push $1
  StrCpy $Mode wizard
  StrCpy $Boxes 1
  StrCpy $CloseRunning 0
  StrCpy $PurgeData 0
  ${If} ${Silent}
    StrCpy $Mode hidden
  ${EndIf}
  Call ${UN}ReadSwitches
  ${If} $Mode == hidden
    SetSilent silent
    StrCpy $Boxes 0
  ${EndIf}
  ${If} $SwitchLanguage == "ru"
  ${OrIf} $SwitchLanguage == "russian"
    StrCpy $LANGUAGE ${LANG_RUSSIAN}
  ${ElseIf} $SwitchLanguage == "en"
  ${OrIf} $SwitchLanguage == "english"
    StrCpy $LANGUAGE ${LANG_ENGLISH}
  ${EndIf}
  ${If} $LogName != ""
    ClearErrors
    FileOpen $LogHandle $LogName w
    ${If} ${Errors}
      StrCpy $LogHandle ""
      ${Fail} 1 "$(TextLog) $LogName"
    ${EndIf}
    FileWriteWord $LogHandle 0xFEFF
    ${Say} "${PRODUCT} ${VERSION} $CMDLINE"
  ${EndIf}
  ; Two at a time would take each other's files away.
  System::Call 'kernel32::CreateMutexW(p 0, i 0, w "Global\${PRODUCT}-setup") p .r0 ?e'
  Pop $1
  ${If} $1 = 183 ; ERROR_ALREADY_EXISTS
    ${Fail} 1 "$(TextTwice)"
  ${EndIf}
  UserInfo::GetAccountType
  Pop $1
  ${If} $1 != "Admin"
    ${Fail} 1 "$(TextAdmin)"
  ${EndIf}
  ${IfNot} ${AtLeastWin10}
    ${Fail} 1 "$(TextWindows)"
  ${EndIf}
  SetShellVarContext all
  ; One place for both kinds of programs, whatever the bits of this one.
  ${If} ${RunningX64}
    SetRegView 64
  ${EndIf}
  Pop $1
  Pop $0
FunctionEnd

; The last line of a section that has done its work.
Function ${UN}Finish
  ${If} ${RebootFlag}
    ${Say} "$(TextReboot)"
    SetErrorLevel 8
  ${Else}
    ${Say} "$(TextDone)"
    SetErrorLevel 0
  ${EndIf}
  ${If} $LogHandle != ""
    FileClose $LogHandle
    StrCpy $LogHandle ""
  ${EndIf}
FunctionEnd

!macroend

; Ends with 100 when the same or a later version is installed. A record whose program ($ArgA) is gone
; does not count: installing again is how that is mended.
Function CheckVersion
  Push $0
  Push $1
  ReadRegStr $0 HKLM "${UNINSTALL_KEY}" "VersionKey"
  ${If} $0 != ""
  ${AndIf} ${FileExists} $ArgA
    System::Call 'kernel32::CompareStringOrdinal(w r0, i -1, w "${VERSION_KEY}", i -1, i 0) i .r1'
    ${If} $1 >= 2 ; CSTR_EQUAL, CSTR_GREATER_THAN
      ReadRegStr $0 HKLM "${UNINSTALL_KEY}" "DisplayVersion"
      ${Fail} 100 "$(TextInstalled) $0"
    ${EndIf}
  ${EndIf}
  Pop $1
  Pop $0
FunctionEnd

; The entry in the list of programs. $ArgA: the uninstaller.
Function WriteRecord
  Push $0
  Push $1
  Push $2
  WriteRegStr HKLM "${UNINSTALL_KEY}" "DisplayName" "$(TextName)"
  WriteRegStr HKLM "${UNINSTALL_KEY}" "DisplayVersion" "${VERSION}"
  WriteRegStr HKLM "${UNINSTALL_KEY}" "VersionKey" "${VERSION_KEY}"
  WriteRegStr HKLM "${UNINSTALL_KEY}" "Publisher" "${PUBLISHER}"
  WriteRegStr HKLM "${UNINSTALL_KEY}" "InstallLocation" "$INSTDIR"
  WriteRegStr HKLM "${UNINSTALL_KEY}" "UninstallString" '"$ArgA"'
  WriteRegStr HKLM "${UNINSTALL_KEY}" "QuietUninstallString" '"$ArgA" /S'
  WriteRegDWORD HKLM "${UNINSTALL_KEY}" "Language" $LANGUAGE
  WriteRegDWORD HKLM "${UNINSTALL_KEY}" "NoModify" 1
  WriteRegDWORD HKLM "${UNINSTALL_KEY}" "NoRepair" 1
  ${GetSize} "$INSTDIR" "/S=0K" $0 $1 $2
  WriteRegDWORD HKLM "${UNINSTALL_KEY}" "EstimatedSize" $0
  Pop $2
  Pop $1
  Pop $0
FunctionEnd

; Pages are for the wizard alone; of a silent run only the progress may be seen.
Function SkipPage
  ${If} $Mode != wizard
    Abort
  ${EndIf}
FunctionEnd

Function un.SkipPage
  ${If} $Mode != wizard
    Abort
  ${EndIf}
FunctionEnd

Function CloseItself
  ${If} $Mode != wizard
    SetAutoClose true
  ${EndIf}
FunctionEnd

Function un.CloseItself
  ${If} $Mode != wizard
    SetAutoClose true
  ${EndIf}
FunctionEnd

!define MUI_CUSTOMFUNCTION_ABORT Cancelled
!define MUI_CUSTOMFUNCTION_UNABORT un.Cancelled

; The stub itself would end with 1.
Function Cancelled
  SetErrorLevel 2
FunctionEnd

Function un.Cancelled
  SetErrorLevel 2
FunctionEnd
