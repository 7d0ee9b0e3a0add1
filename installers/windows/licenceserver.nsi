; Installer of the licence server for Windows of 32 and 64 bits.
;
; Decides what lies where, in which order the program is replaced, and when the earlier one comes
; back. What the service is like is decided by the program: `licenceserver service install`.
;
; Given by the packer beside what common.nsh names: PROGRAM32, PROGRAM64: which programs lie in
; SOURCE, as licenceserver-x86.exe and licenceserver-x64.exe.

!include common.nsh

!define PROGRAM "licenceserver.exe"
!define SERVICE "licenceserver"
!define UNINSTALLER "uninstall-server.exe"
; Its name in the firewall, by which it is found again.
!define FIREWALL_RULE "licenceserver"
!define DEFAULT_PORT 9099
; «Пуск – Программы – СЛК – 3.0 – Консоль сервера», as the manual has it.
!define MENU "$SMPROGRAMS\СЛК\3.0"

Var Earlier         ; where the earlier program lies while it may be needed, or nothing

Name "$(TextName)"

!define MUI_ABORTWARNING
!define MUI_LANGDLL_WINDOWTITLE "licenceserver ${VERSION}"
!define MUI_LANGDLL_INFO "Язык / Language"
!define MUI_LANGDLL_ALLLANGUAGES
!define MUI_FINISHPAGE_RUN
!define MUI_FINISHPAGE_RUN_TEXT "$(TextOpenConsole)"
!define MUI_FINISHPAGE_RUN_FUNCTION OpenConsole

!define MUI_PAGE_CUSTOMFUNCTION_PRE SkipPage
!insertmacro MUI_PAGE_WELCOME
!define MUI_PAGE_CUSTOMFUNCTION_PRE SkipPage
!insertmacro MUI_PAGE_LICENSE "${SOURCE}/LICENSE-MIT.txt"
!define MUI_PAGE_CUSTOMFUNCTION_PRE SkipFolder
!insertmacro MUI_PAGE_DIRECTORY
!define MUI_PAGE_CUSTOMFUNCTION_SHOW CloseItself
!insertmacro MUI_PAGE_INSTFILES
!define MUI_PAGE_CUSTOMFUNCTION_PRE SkipPage
!insertmacro MUI_PAGE_FINISH

!define MUI_PAGE_CUSTOMFUNCTION_PRE un.SkipPage
!insertmacro MUI_UNPAGE_CONFIRM
!define MUI_PAGE_CUSTOMFUNCTION_SHOW un.CloseItself
!insertmacro MUI_UNPAGE_INSTFILES

; The first serves where Windows speaks neither.
!insertmacro MUI_LANGUAGE "English"
!insertmacro MUI_LANGUAGE "Russian"
!include texts.nsh
; The language in which the service is named and our programs answer.
${Text} TextLanguage "ru" "en"
${Text} TextName "Сервер лицензий" "Licence server"
${Text} TextOpenConsole "Открыть консоль сервера" "Open the server's console"
${Text} TextConsole "Консоль сервера" "Server console"
${Text} TextUninstall "Удаление сервера лицензий" "Uninstall the licence server"
!include version.nsh

!insertmacro CommonFunctions ""
!insertmacro CommonFunctions "un."
!insertmacro FileFunctions ""
!insertmacro FileFunctions "un."
!insertmacro ServiceFunctions ""
!insertmacro ServiceFunctions "un."

Function .onInit
  Call Begin
  ReadRegStr $0 HKLM "${UNINSTALL_KEY}" "InstallLocation"
  ${If} $0 != ""
  ${AndIf} ${FileExists} "$0\${PROGRAM}"
    ; An upgrade goes where the earlier one is, whatever the command line says: the service has one place.
    StrCpy $INSTDIR $0
  ${ElseIf} $SwitchFolder != ""
    StrCpy $INSTDIR $SwitchFolder
  ${EndIf}
  ${If} $INSTDIR == ""
    !ifdef PROGRAM64
      ${If} ${RunningX64}
        StrCpy $INSTDIR "$PROGRAMFILES64\1C\Licence\v3.0"
      ${Else}
        StrCpy $INSTDIR "$PROGRAMFILES32\1C\Licence\v3.0"
      ${EndIf}
    !else
      StrCpy $INSTDIR "$PROGRAMFILES32\1C\Licence\v3.0"
    !endif
  ${EndIf}
  StrCpy $0 $INSTDIR 1 1
  ${If} $0 != ":"
    ${Fail} 1 "$(TextFolder) $INSTDIR"
  ${EndIf}
  !ifndef PROGRAM32
    ${IfNot} ${RunningX64}
      ${Fail} 1 "$(TextNoProgram)"
    ${EndIf}
  !endif
  StrCpy $ArgA "$INSTDIR\${PROGRAM}"
  Call CheckVersion
  Call ChooseLanguage
FunctionEnd

; The folder of an upgrade cannot be chosen.
Function SkipFolder
  ${If} $Mode != wizard
  ${OrIf} ${FileExists} "$INSTDIR\${PROGRAM}"
    Abort
  ${EndIf}
FunctionEnd

; The address of the console, by the port that the settings name; $Answer.
Function ConsoleAddress
  ReadINIStr $Answer "$APPDATA\1C\Licence\3.0\licenceserver.conf" "Common" "ServerPort"
  IntOp $Answer $Answer + 0
  ${If} $Answer <= 0
    StrCpy $Answer ${DEFAULT_PORT}
  ${EndIf}
  StrCpy $Answer "http://localhost:$Answer/"
FunctionEnd

Function OpenConsole
  Call ConsoleAddress
  ; The desktop's own process opens it: a browser must not inherit the rights of this one.
  Exec '"$WINDIR\explorer.exe" "$Answer"'
FunctionEnd

; Makes the service by the program that lies there and waits until it runs; $Answer: 1 if it does.
Function StartServer
  ${Run} '"$INSTDIR\${PROGRAM}" service install --lang $(TextLanguage)'
  ${If} $Answer == 0
    ${Say} "$(TextStarting) ${SERVICE}"
    ; A service runs, for Windows, from the moment when the server listens.
    ${ServiceStart} ${SERVICE}
  ${Else}
    StrCpy $Answer 0
  ${EndIf}
FunctionEnd

; What was there before serves again, or nothing is left. Never returns.
Function RollBack
  ${ServiceStop} ${SERVICE}
  ${If} $Earlier == ""
    ${Run} '"$INSTDIR\${PROGRAM}" service uninstall --lang $(TextLanguage)'
    ${ServiceDelete} ${SERVICE}
    ${Remove} "$INSTDIR\${PROGRAM}"
    StrCpy $ArgA $INSTDIR
    Call RemoveFolder
    ${Fail} 4 "$(TextRemoved)"
  ${EndIf}
  ${Remove} "$INSTDIR\${PROGRAM}"
  ClearErrors
  Rename $Earlier "$INSTDIR\${PROGRAM}"
  ${If} ${Errors}
    ${Fail} 5 "$(TextNotRestored)"
  ${EndIf}
  Call StartServer
  ${If} $Answer <> 1
    ${Fail} 5 "$(TextNotRestored)"
  ${EndIf}
  ${Fail} 4 "$(TextRestored)"
FunctionEnd

Section
  ; What breaks off without a word of ours, as a full disk does, has changed nothing yet.
  SetErrorLevel 3
  SetOutPath $INSTDIR
  StrCpy $Earlier ""
  ; A run that was cut off between two renames is finished.
  ${IfNot} ${FileExists} "$INSTDIR\${PROGRAM}"
  ${AndIf} ${FileExists} "$INSTDIR\${PROGRAM}.old1"
    Rename "$INSTDIR\${PROGRAM}.old1" "$INSTDIR\${PROGRAM}"
  ${EndIf}
  ClearErrors
  SetOverwrite try
  !ifdef PROGRAM64
    ${If} ${RunningX64}
      File "/oname=${PROGRAM}.new" "${SOURCE}/licenceserver-x64.exe"
    !ifdef PROGRAM32
      ${Else}
        File "/oname=${PROGRAM}.new" "${SOURCE}/licenceserver-x86.exe"
    !endif
    ${EndIf}
  !else
    File "/oname=${PROGRAM}.new" "${SOURCE}/licenceserver-x86.exe"
  !endif
  ${If} ${Errors}
  ${OrIfNot} ${FileExists} "$INSTDIR\${PROGRAM}.new"
    ${Fail} 3 "$(TextUnpack) $INSTDIR"
  ${EndIf}

  ; A folder in which programs work, these or what they start, cannot be removed.
  SetOutPath $TEMP
  ${Say} "$(TextStopping) ${SERVICE}"
  ${ServiceStop} ${SERVICE}
  ${If} $Answer <> 1
    Delete "$INSTDIR\${PROGRAM}.new"
    ${Fail} 3 "$(TextNotStopped) ${SERVICE}"
  ${EndIf}
  ${If} ${FileExists} "$INSTDIR\${PROGRAM}"
    ${MoveAside} "$INSTDIR\${PROGRAM}"
    StrCpy $Earlier $Answer
    ${If} $Earlier == ""
      Delete "$INSTDIR\${PROGRAM}.new"
      ${ServiceStart} ${SERVICE}
      ${Fail} 7 "$(TextInUse) $INSTDIR\${PROGRAM}"
    ${EndIf}
  ${EndIf}
  ClearErrors
  Rename "$INSTDIR\${PROGRAM}.new" "$INSTDIR\${PROGRAM}"
  ${If} ${Errors}
    Delete "$INSTDIR\${PROGRAM}.new"
    Call RollBack
  ${EndIf}
  Call StartServer
  ${If} $Answer <> 1
    ${Say} "$(TextNotStarted) ${SERVICE}"
    Call RollBack
  ${EndIf}
  ; From here on nothing turns back; what fails below can be made up for by hand.
  ${RemoveAside} "$INSTDIR\${PROGRAM}"

  SetOverwrite on
  SetOutPath $INSTDIR
  File "/oname=licenceserver.conf.sample" "${SOURCE}/licenceserver.conf"
  File "/oname=licenceserver-LICENSE-MIT.txt" "${SOURCE}/LICENSE-MIT.txt"
  File "/oname=licenceserver-LICENSE-APACHE.txt" "${SOURCE}/LICENSE-APACHE.txt"
  WriteUninstaller "$INSTDIR\${UNINSTALLER}"
  SetOutPath $TEMP

  ; By program and not by port: the port is a setting, and the server listens on no other.
  ${Run} '"$SYSDIR\netsh.exe" advfirewall firewall delete rule name="${FIREWALL_RULE}"'
  ${Run} '"$SYSDIR\netsh.exe" advfirewall firewall add rule name="${FIREWALL_RULE}" dir=in action=allow protocol=TCP program="$INSTDIR\${PROGRAM}" enable=yes'

  Call RemoveMenu
  CreateDirectory "${MENU}"
  Call ConsoleAddress
  WriteINIStr "${MENU}\$(TextConsole).url" "InternetShortcut" "URL" $Answer
  CreateShortcut "${MENU}\$(TextUninstall).lnk" "$INSTDIR\${UNINSTALLER}"

  StrCpy $ArgA "$INSTDIR\${UNINSTALLER}"
  Call WriteRecord
  Call Finish
SectionEnd

!macro MenuFunctions UN
; Entries in both languages: the one of this run need not be the one that they were made in.
Function ${UN}RemoveMenu
  Delete "${MENU}\Консоль сервера.url"
  Delete "${MENU}\Server console.url"
  Delete "${MENU}\Удаление сервера лицензий.lnk"
  Delete "${MENU}\Uninstall the licence server.lnk"
  RMDir "${MENU}"
  RMDir "$SMPROGRAMS\СЛК"
  ClearErrors
FunctionEnd
!macroend
!insertmacro MenuFunctions ""
!insertmacro MenuFunctions "un."

Function un.onInit
  Call un.Begin
  Call un.ChooseLanguage
FunctionEnd

Section "Uninstall"
  SetErrorLevel 3
  ${If} $Mode == wizard
  ${AndIf} $Boxes = 1
  ${AndIf} $PurgeData = 0
    MessageBox MB_YESNO|MB_ICONQUESTION|MB_DEFBUTTON2 "$(TextPurge)" /SD IDNO IDNO keep
    StrCpy $PurgeData 1
  keep:
  ${EndIf}
  ${ServiceStop} ${SERVICE}
  ${If} $Answer <> 1
    ${Fail} 3 "$(TextNotStopped) ${SERVICE}"
  ${EndIf}
  ${Run} '"$INSTDIR\${PROGRAM}" service uninstall --lang $(TextLanguage)'
  ; A program that is broken does not keep its service from going.
  ${ServiceDelete} ${SERVICE}
  ${Run} '"$SYSDIR\netsh.exe" advfirewall firewall delete rule name="${FIREWALL_RULE}"'
  ${Remove} "$INSTDIR\${PROGRAM}"
  ${RemoveAside} "$INSTDIR\${PROGRAM}"
  Delete "$INSTDIR\${PROGRAM}.new"
  Delete "$INSTDIR\licenceserver.conf.sample"
  Delete "$INSTDIR\licenceserver-LICENSE-MIT.txt"
  Delete "$INSTDIR\licenceserver-LICENSE-APACHE.txt"
  Delete "$INSTDIR\${UNINSTALLER}"
  SetOutPath $TEMP
  StrCpy $ArgA $INSTDIR
  Call un.RemoveFolder
  Call un.RemoveMenu
  DeleteRegKey HKLM "${UNINSTALL_KEY}"
  ${If} $PurgeData = 1
    ; The settings of the component lie in the same folder and are not the server's.
    Rename "$APPDATA\1C\Licence\3.0\licenceaddin.conf" "$APPDATA\1C\licenceaddin.conf.kept"
    RMDir /r "$APPDATA\1C\Licence"
    ${If} ${FileExists} "$APPDATA\1C\licenceaddin.conf.kept"
      CreateDirectory "$APPDATA\1C\Licence\3.0"
      Rename "$APPDATA\1C\licenceaddin.conf.kept" "$APPDATA\1C\Licence\3.0\licenceaddin.conf"
    ${EndIf}
    RMDir "$APPDATA\1C"
    ClearErrors
  ${EndIf}
  Call un.Finish
SectionEnd
