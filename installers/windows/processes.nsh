; Processes and services of 1C:Enterprise, which may hold the component.
;
; Decides which processes count, how they are asked to end and which services start again. Whether
; they are ended at all is decided by the person or by /CloseRunning.

; A client may ask its user whether to save; who does not answer in this time is ended.
!define CLIENT_SECONDS 10
; Working processes go a little after the server's agent that has started them.
!define WORKER_SECONDS 20
; Processes that are named to a person; the others are counted.
!define NAMED_MAX 10
; Most that EnumServicesStatusEx gives at once.
!define SERVICES_BYTES 262144
; Most that QueryServiceConfig may need.
!define CONFIG_BYTES 8192

Var Found           ; number of processes of 1C that run
Var FoundText       ; their names and numbers, for people
Var Stopped         ; services that were stopped, each with | behind it

!macro ProcessFunctions UN

; Looks for processes of 1C. $ArgA: `list`, or `end` to end each.
Function ${UN}Processes
  System::Store S
  StrCpy $9 $ArgA
  StrCpy $8 0 ; 1: that there are more was said
  StrCpy $Found 0
  StrCpy $FoundText ""
  System::Call 'kernel32::CreateToolhelp32Snapshot(i 2, i 0) p .r0' ; TH32CS_SNAPPROCESS
  ; PROCESSENTRY32W as a program of 32 bits sees it.
  System::Alloc 556
  Pop $1
  System::Call '*$1(i 556)'
  System::Call 'kernel32::Process32FirstW(p r0, p r1) i .r2'
  ${While} $2 <> 0
    System::Call '*$1(i, i, i .r3, i, i, i, i, i, i, &w260 .r4)'
    ${If} $4 == "1cv8.exe"
    ${OrIf} $4 == "1cv8c.exe"
    ${OrIf} $4 == "1cv8s.exe"
    ${OrIf} $4 == "ragent.exe"
    ${OrIf} $4 == "rmngr.exe"
    ${OrIf} $4 == "rphost.exe"
      ${If} $9 == "end"
        System::Call 'kernel32::OpenProcess(i 1, i 0, i r3) p .r5' ; PROCESS_TERMINATE
        ${If} $5 P<> 0
          System::Call 'kernel32::TerminateProcess(p r5, i 1)'
          System::Call 'kernel32::CloseHandle(p r5)'
        ${EndIf}
      ${EndIf}
      IntOp $Found $Found + 1
      ${If} $Found <= ${NAMED_MAX}
        StrCpy $FoundText "$FoundText$\n$4 ($3)"
      ${ElseIf} $8 = 0
        StrCpy $8 1
        StrCpy $FoundText "$FoundText$\n…"
      ${EndIf}
    ${EndIf}
    System::Call 'kernel32::Process32NextW(p r0, p r1) i .r2'
  ${EndWhile}
  System::Free $1
  System::Call 'kernel32::CloseHandle(p r0)'
  System::Store L
FunctionEnd

; Waits until none of them runs, at most $ArgA seconds.
Function ${UN}ProcessesGone
  System::Store S
  IntOp $0 $ArgA * 4
  ${Do}
    StrCpy $ArgA list
    Call ${UN}Processes
    IntOp $0 $0 - 1
    ${If} $Found = 0
    ${OrIf} $0 < 0
      ${Break}
    ${EndIf}
    Sleep 250
  ${Loop}
  System::Store L
FunctionEnd

; Whether processes of 1C may be ended. Ends the installer when they run and may not.
Function ${UN}AskProcesses
  StrCpy $ArgA list
  Call ${UN}Processes
  ${While} $Found > 0
    ${Say} "$(TextRunning)$FoundText"
    ${If} $CloseRunning = 1
      ${Break}
    ${EndIf}
    ${If} $Mode != wizard
    ${OrIf} $Boxes = 0
      ${Fail} 7 "$(TextRunning)$FoundText"
    ${EndIf}
    MessageBox MB_YESNOCANCEL|MB_ICONEXCLAMATION|MB_DEFBUTTON2 "$(TextRunning)$FoundText$\n$\n$(TextAskRunning)" IDYES close IDNO again
    SetErrorLevel 2
    Abort
  close:
    StrCpy $CloseRunning 1
  again:
    StrCpy $ArgA list
    Call ${UN}Processes
  ${EndWhile}
FunctionEnd

; Stops the services whose program is the agent of 1C's server, and remembers their names.
Function ${UN}StopAgents
  System::Store S
  System::Call 'advapi32::OpenSCManagerW(p 0, p 0, i 5) p .r0' ; CONNECT, ENUMERATE_SERVICE
  ${If} $0 P<> 0
    System::Alloc ${SERVICES_BYTES}
    Pop $1
    System::Alloc ${CONFIG_BYTES}
    Pop $8
    StrCpy $4 0
    ${Do}
      ; Services of programs (0x30) that are active (1).
      System::Call 'advapi32::EnumServicesStatusExW(p r0, i 0, i 0x30, i 1, p r1, i ${SERVICES_BYTES}, *i .r2, *i .r3, *i r4r4, p 0) i .r5'
      StrCpy $6 $1
      ${While} $3 > 0
        ; ENUM_SERVICE_STATUS_PROCESSW: two pointers and nine numbers.
        System::Call '*$6(w .r7)'
        StrCpy $9 ""
        System::Call 'advapi32::OpenServiceW(p r0, w r7, i 1) p .R0' ; SERVICE_QUERY_CONFIG
        ${If} $R0 P<> 0
          System::Call 'advapi32::QueryServiceConfigW(p R0, p r8, i ${CONFIG_BYTES}, *i .R1) i .R2'
          ${If} $R2 <> 0
            System::Call '*$8(i, i, i, w .r9)'
          ${EndIf}
          System::Call 'advapi32::CloseServiceHandle(p R0)'
        ${EndIf}
        System::Call 'shlwapi::StrStrIW(w r9, w "ragent.exe") p .R0'
        ${If} $R0 P<> 0
          ${Say} "$(TextStopping) $7"
          StrCpy $Stopped "$Stopped$7|"
          ${ServiceStop} $7
        ${EndIf}
        IntOp $6 $6 + 44
        IntOp $3 $3 - 1
      ${EndWhile}
    ${LoopUntil} $4 = 0
    System::Free $8
    System::Free $1
    System::Call 'advapi32::CloseServiceHandle(p r0)'
  ${EndIf}
  System::Store L
FunctionEnd

; Starts again what StopAgents has stopped.
Function ${UN}StartAgents
  System::Store S
  StrCpy $2 ""
  ${DoUntil} $Stopped == ""
    StrCpy $0 $Stopped 1
    StrCpy $Stopped $Stopped "" 1
    ${If} $0 == "|"
      ${Say} "$(TextStarting) $2"
      ${ServiceStart} $2
      ${If} $Answer <> 1
        ${Say} "$(TextNotStarted) $2"
      ${EndIf}
      StrCpy $2 ""
    ${Else}
      StrCpy $2 "$2$0"
    ${EndIf}
  ${Loop}
  System::Store L
FunctionEnd

; Ends the processes of 1C that run, services first. Ends the installer when some cannot be ended.
Function ${UN}EndProcesses
  ${If} $Found > 0
    Call ${UN}StopAgents
    ; Without /F it asks the windows to close.
    ${Run} '"$SYSDIR\taskkill.exe" /IM 1cv8c.exe /IM 1cv8.exe /IM 1cv8s.exe'
    ${If} $Stopped == ""
      StrCpy $ArgA ${CLIENT_SECONDS}
    ${Else}
      StrCpy $ArgA ${WORKER_SECONDS}
    ${EndIf}
    Call ${UN}ProcessesGone
    ${If} $Found > 0
      StrCpy $ArgA end
      Call ${UN}Processes
      StrCpy $ArgA ${CLIENT_SECONDS}
      Call ${UN}ProcessesGone
    ${EndIf}
    ${If} $Found > 0
      Call ${UN}StartAgents
      ${Fail} 7 "$(TextStillRunning)$FoundText"
    ${EndIf}
  ${EndIf}
FunctionEnd

!macroend
