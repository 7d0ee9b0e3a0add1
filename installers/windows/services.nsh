; Services of Windows, asked and told by the system's own calls: what `sc.exe` prints differs with
; the language of the system.
;
; Decides nothing: what is stopped and started is decided by whoever includes it.

; An orderly stop of the licence server takes 10 s, that of a large 1C server half a minute.
!define STOP_SECONDS 60
; A server that reads a large journal after a crash needs longer than an empty one.
!define START_SECONDS 120
; How long a service may be seen stopped while it is to start.
!define IDLE_SECONDS 5

; $Answer: 0 not there, 1 stopped, 2 starting, 3 stopping, 4 running (SERVICE_STATUS).
!define ServiceState '!insertmacro Call1 ServiceState'
; $Answer: 1 when the service is stopped or not there.
!define ServiceStop '!insertmacro Call1 ServiceStop'
; $Answer: 1 when it runs.
!define ServiceStart '!insertmacro Call1 ServiceStart'
; Removes the entry; nothing when there is none.
!define ServiceDelete '!insertmacro Call1 ServiceDelete'
!macro ServiceFunctions UN

; In: $ArgA name, $ArgB access rights. Out: $1 the manager, $2 the service, 0 where not opened.
Function ${UN}ServiceOpen
  StrCpy $2 0
  System::Call 'advapi32::OpenSCManagerW(p 0, p 0, i 1) p .r1' ; SC_MANAGER_CONNECT
  ${If} $1 P<> 0
    StrCpy $3 $ArgA
    StrCpy $4 $ArgB
    System::Call 'advapi32::OpenServiceW(p r1, w r3, i r4) p .r2'
  ${EndIf}
FunctionEnd

; Closes what ServiceOpen has opened.
Function ${UN}ServiceClose
  ${If} $2 P<> 0
    System::Call 'advapi32::CloseServiceHandle(p r2)'
  ${EndIf}
  ${If} $1 P<> 0
    System::Call 'advapi32::CloseServiceHandle(p r1)'
  ${EndIf}
FunctionEnd

Function ${UN}ServiceState
  System::Store S
  StrCpy $Answer 0
  StrCpy $ArgB 4 ; SERVICE_QUERY_STATUS
  Call ${UN}ServiceOpen
  ${If} $2 P<> 0
    System::Call '*(i, i, i, i, i, i, i) p .r3'
    System::Call 'advapi32::QueryServiceStatus(p r2, p r3) i .r4'
    ${If} $4 <> 0
      System::Call '*$3(i, i .r4)'
      StrCpy $Answer $4
    ${EndIf}
    System::Free $3
  ${EndIf}
  Call ${UN}ServiceClose
  System::Store L
FunctionEnd

Function ${UN}ServiceStop
  System::Store S
  StrCpy $5 $ArgA
  ${ServiceState} $5
  ${If} $Answer < 2
    StrCpy $Answer 1
  ${Else}
    StrCpy $ArgA $5
    StrCpy $ArgB 0x20 ; SERVICE_STOP
    Call ${UN}ServiceOpen
    ${If} $2 P<> 0
      System::Call '*(i, i, i, i, i, i, i) p .r3'
      System::Call 'advapi32::ControlService(p r2, i 1, p r3) i .r4' ; SERVICE_CONTROL_STOP
      System::Free $3
    ${EndIf}
    Call ${UN}ServiceClose
    IntOp $6 ${STOP_SECONDS} * 4
    ${Do}
      ${ServiceState} $5
      ${If} $Answer < 2
        StrCpy $Answer 1
        ${Break}
      ${EndIf}
      IntOp $6 $6 - 1
      ${If} $6 < 0
        StrCpy $Answer 0
        ${Break}
      ${EndIf}
      Sleep 250
    ${Loop}
  ${EndIf}
  System::Store L
FunctionEnd

Function ${UN}ServiceStart
  System::Store S
  StrCpy $5 $ArgA
  IntOp $6 ${START_SECONDS} * 4
  IntOp $7 ${IDLE_SECONDS} * 4
  StrCpy $8 0 ; 1: the start was accepted
  ${Do}
    ${ServiceState} $5
    ${If} $Answer = 4
      StrCpy $Answer 1
      ${Break}
    ${EndIf}
    ${If} $Answer < 2
      IntOp $7 $7 - 1
      ; A start is refused while the earlier process ends or another service starts. One that was
      ; accepted is not repeated: the service has ended by itself.
      ${If} $8 = 0
        StrCpy $ArgA $5
        StrCpy $ArgB 0x10 ; SERVICE_START
        Call ${UN}ServiceOpen
        ${If} $2 P<> 0
          System::Call 'advapi32::StartServiceW(p r2, i 0, p 0) i .r8'
        ${EndIf}
        Call ${UN}ServiceClose
      ${EndIf}
    ${EndIf}
    IntOp $6 $6 - 1
    ${If} $6 < 0
    ${OrIf} $7 < 0
      StrCpy $Answer 0
      ${Break}
    ${EndIf}
    Sleep 250
  ${Loop}
  System::Store L
FunctionEnd

Function ${UN}ServiceDelete
  System::Store S
  StrCpy $ArgB 0x10000 ; DELETE
  Call ${UN}ServiceOpen
  ${If} $2 P<> 0
    System::Call 'advapi32::DeleteService(p r2) i .r4'
  ${EndIf}
  Call ${UN}ServiceClose
  System::Store L
FunctionEnd

!macroend
