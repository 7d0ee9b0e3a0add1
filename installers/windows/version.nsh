; What Windows shows of the installer's file. Included after the languages.

VIProductVersion "${VERSION_NUMBERS}"
!macro VersionStrings LANGUAGE DESCRIPTION
  VIAddVersionKey /LANG=${LANGUAGE} "ProductName" "${PRODUCT}"
  VIAddVersionKey /LANG=${LANGUAGE} "ProductVersion" "${VERSION}"
  VIAddVersionKey /LANG=${LANGUAGE} "FileVersion" "${VERSION}"
  VIAddVersionKey /LANG=${LANGUAGE} "FileDescription" "${DESCRIPTION}"
  VIAddVersionKey /LANG=${LANGUAGE} "CompanyName" "${PUBLISHER}"
  VIAddVersionKey /LANG=${LANGUAGE} "LegalCopyright" "MIT OR Apache-2.0"
!macroend
!insertmacro VersionStrings ${LANG_ENGLISH} "${PRODUCT} ${VERSION} installer"
!insertmacro VersionStrings ${LANG_RUSSIAN} "Установка ${PRODUCT} ${VERSION}"
