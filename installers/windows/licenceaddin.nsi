; Installer of the component for Windows of 32 and 64 bits.
;
; Decides where its libraries lie and what becomes of 1C's processes meanwhile. A library of each
; architecture is installed where processes of that architecture look first (docs/component.md).
;
; Given by the packer beside what common.nsh names: LIBRARY32, LIBRARY64: which libraries lie in
; SOURCE, as licenceaddin.dll and licenceaddin-x86_64.dll.

!include common.nsh
!include processes.nsh

!define UNINSTALLER "uninstall-addin.exe"
!define FOLDER32 "$PROGRAMFILES32\1C\Licence\v3.0"
!define FOLDER64 "$PROGRAMFILES64\1C\Licence\v3.0"
!define NAME32 "licenceaddin.dll"
!define NAME64 "licenceaddin-x86_64.dll"

; Where an earlier library lies while it may be needed, or nothing.
!ifdef LIBRARY32
  Var Aside32
!endif
!ifdef LIBRARY64
  Var Aside64
!endif

Name "$(TextName)"

!define MUI_ABORTWARNING
!define MUI_LANGDLL_WINDOWTITLE "licenceaddin ${VERSION}"
!define MUI_LANGDLL_INFO "Язык / Language"
!define MUI_LANGDLL_ALLLANGUAGES

!define MUI_PAGE_CUSTOMFUNCTION_PRE SkipPage
!insertmacro MUI_PAGE_WELCOME
!define MUI_PAGE_CUSTOMFUNCTION_PRE SkipPage
!insertmacro MUI_PAGE_LICENSE "${SOURCE}/LICENSE-MIT.txt"
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
${Text} TextName "Компонента лицензирования 1С" "Licensing component for 1C"
!include version.nsh

!insertmacro CommonFunctions ""
!insertmacro CommonFunctions "un."
!insertmacro FileFunctions ""
!insertmacro FileFunctions "un."
!insertmacro ServiceFunctions ""
!insertmacro ServiceFunctions "un."
!insertmacro ProcessFunctions ""
!insertmacro ProcessFunctions "un."

Function .onInit
  Call Begin
  ${If} $SwitchFolder != ""
  ${OrIf} $INSTDIR != ""
    ${Fail} 1 "$(TextFixedFolder)"
  ${EndIf}
  ; The uninstaller lies beside the library of the system's own architecture.
  StrCpy $INSTDIR "${FOLDER32}"
  !ifdef LIBRARY64
    ${If} ${RunningX64}
      StrCpy $INSTDIR "${FOLDER64}"
    ${EndIf}
  !endif
  StrCpy $ArgA "${FOLDER32}\${NAME32}"
  !ifndef LIBRARY32
    ${IfNot} ${RunningX64}
      ${Fail} 1 "$(TextNoProgram)"
    ${EndIf}
    StrCpy $ArgA "${FOLDER64}\${NAME64}"
  !endif
  Call CheckVersion
  Call ChooseLanguage
FunctionEnd

; Unpacks a library beside its place.
!macro Unpack FOLDER NAME
  SetOutPath "${FOLDER}"
  ClearErrors
  File "/oname=${NAME}.new" "${SOURCE}/${NAME}"
  ${If} ${Errors}
  ${OrIfNot} ${FileExists} "${FOLDER}\${NAME}.new"
    Call StartAgents
    ${Fail} 3 "$(TextUnpack) ${FOLDER}"
  ${EndIf}
!macroend

; Puts an unpacked library in its place. One that nobody lets go is replaced at the next start of the
; computer. ASIDE: where the earlier one is then.
!macro Replace FOLDER NAME ASIDE
  StrCpy ${ASIDE} ""
  ${If} ${FileExists} "${FOLDER}\${NAME}"
    ${MoveAside} "${FOLDER}\${NAME}"
    StrCpy ${ASIDE} $Answer
  ${EndIf}
  ClearErrors
  ${If} ${FileExists} "${FOLDER}\${NAME}"
    Rename /REBOOTOK "${FOLDER}\${NAME}.new" "${FOLDER}\${NAME}"
  ${Else}
    Rename "${FOLDER}\${NAME}.new" "${FOLDER}\${NAME}"
  ${EndIf}
  ${If} ${Errors}
    Call RollBack
  ${EndIf}
!macroend

; Puts the earlier library back.
!macro Restore FOLDER NAME ASIDE
  Delete "${FOLDER}\${NAME}.new"
  ${If} ${ASIDE} != ""
    ${Remove} "${FOLDER}\${NAME}"
    ClearErrors
    Rename ${ASIDE} "${FOLDER}\${NAME}"
    ${If} ${Errors}
      StrCpy $0 5
    ${EndIf}
  ${EndIf}
!macroend

; What was there before serves again. Never returns.
Function RollBack
  StrCpy $0 4
  !ifdef LIBRARY32
    !insertmacro Restore "${FOLDER32}" "${NAME32}" $Aside32
  !endif
  !ifdef LIBRARY64
    ${If} ${RunningX64}
      !insertmacro Restore "${FOLDER64}" "${NAME64}" $Aside64
    ${EndIf}
  !endif
  Call StartAgents
  ${If} $0 = 5
    ${Fail} 5 "$(TextNotRestored)"
  ${EndIf}
  ${Fail} 4 "$(TextRestored)"
FunctionEnd

Section
  ; What breaks off without a word of ours, as a full disk does, has changed nothing yet.
  SetErrorLevel 3
  Call AskProcesses
  SetOverwrite try
  !ifdef LIBRARY32
    !insertmacro Unpack "${FOLDER32}" "${NAME32}"
  !endif
  !ifdef LIBRARY64
    ${If} ${RunningX64}
      !insertmacro Unpack "${FOLDER64}" "${NAME64}"
    ${EndIf}
  !endif
  Call EndProcesses
  !ifdef LIBRARY32
    !insertmacro Replace "${FOLDER32}" "${NAME32}" $Aside32
  !endif
  !ifdef LIBRARY64
    ${If} ${RunningX64}
      !insertmacro Replace "${FOLDER64}" "${NAME64}" $Aside64
    ${EndIf}
  !endif
  !ifdef LIBRARY32
    ${RemoveAside} "${FOLDER32}\${NAME32}"
  !endif
  !ifdef LIBRARY64
    ${If} ${RunningX64}
      ${RemoveAside} "${FOLDER64}\${NAME64}"
    ${EndIf}
  !endif
  Call StartAgents

  SetOutPath $INSTDIR
  SetOverwrite on
  File "/oname=licenceaddin.conf.sample" "${SOURCE}/licenceaddin.conf"
  File "/oname=licenceaddin-LICENSE-MIT.txt" "${SOURCE}/LICENSE-MIT.txt"
  File "/oname=licenceaddin-LICENSE-APACHE.txt" "${SOURCE}/LICENSE-APACHE.txt"
  WriteUninstaller "$INSTDIR\${UNINSTALLER}"
  StrCpy $ArgA "$INSTDIR\${UNINSTALLER}"
  Call WriteRecord
  Call Finish
SectionEnd

Function un.onInit
  Call un.Begin
  Call un.ChooseLanguage
FunctionEnd

Section "Uninstall"
  SetErrorLevel 3
  Call un.AskProcesses
  Call un.EndProcesses
  SetOutPath $TEMP
  ${Remove} "${FOLDER32}\${NAME32}"
  ${RemoveAside} "${FOLDER32}\${NAME32}"
  Delete "${FOLDER32}\${NAME32}.new"
  ${If} ${RunningX64}
    ${Remove} "${FOLDER64}\${NAME64}"
    ${RemoveAside} "${FOLDER64}\${NAME64}"
    Delete "${FOLDER64}\${NAME64}.new"
  ${EndIf}
  Call un.StartAgents
  Delete "$INSTDIR\licenceaddin.conf.sample"
  Delete "$INSTDIR\licenceaddin-LICENSE-MIT.txt"
  Delete "$INSTDIR\licenceaddin-LICENSE-APACHE.txt"
  Delete "$INSTDIR\${UNINSTALLER}"
  ${If} $INSTDIR != "${FOLDER32}"
    StrCpy $ArgA "${FOLDER32}"
    Call un.RemoveFolder
  ${EndIf}
  StrCpy $ArgA $INSTDIR
  Call un.RemoveFolder
  DeleteRegKey HKLM "${UNINSTALL_KEY}"
  Call un.Finish
SectionEnd
