; Words of both installers, Russian and English, and which of the two is spoken. Included after the
; languages.

!macro Text NAME RUSSIAN ENGLISH
  LangString ${NAME} ${LANG_RUSSIAN} "${RUSSIAN}"
  LangString ${NAME} ${LANG_ENGLISH} "${ENGLISH}"
!macroend
!define Text '!insertmacro Text'

${Text} TextLog "Не удалось создать журнал установки:" "The log of the installation cannot be written:"
${Text} TextTwice "Программа установки уже запущена." "The installer is running already."
${Text} TextAdmin "Нужны права администратора." "Administrator rights are needed."
${Text} TextWindows "Нужна Windows 10, Windows Server 2016 или новее." "Windows 10, Windows Server 2016 or later is needed."
${Text} TextInstalled "Такая же или более новая версия уже установлена:" "The same or a later version is installed:"
${Text} TextFolder "Папка установки должна быть указана полностью, с буквой диска:" "The folder must be a full path with a drive letter:"
${Text} TextFixedFolder "Папка компоненты не выбирается: в другой папке 1С её не найдёт." "The folder of the component cannot be chosen: 1C would not find it elsewhere."
${Text} TextNoProgram "Для этой Windows в установочном пакете нет программ." "This package has no programs for this Windows."
${Text} TextLater "Занятый файл будет удалён при перезагрузке:" "A file in use goes when the computer restarts:"
${Text} TextReboot "Готово. Перезагрузите компьютер, чтобы закончить." "Done. Restart the computer to finish."
${Text} TextDone "Готово." "Done."
${Text} TextUnpack "Не удалось записать файлы программы в папку" "The files cannot be written to the folder"
${Text} TextStopping "Остановка службы" "Stopping the service"
${Text} TextStarting "Запуск службы" "Starting the service"
${Text} TextNotStopped "Служба не остановилась:" "The service does not stop:"
${Text} TextNotStarted "Служба не запустилась:" "The service does not start:"
${Text} TextInUse "Файл занят другой программой:" "Another program is using the file:"
${Text} TextRunning "Работают процессы 1С:Предприятия:" "Processes of 1C:Enterprise are running:"
${Text} TextStillRunning "Не удалось завершить процессы 1С:Предприятия:" "Processes of 1C:Enterprise could not be ended:"
${Text} TextAskRunning "Да – завершить их (службы сервера 1С будут запущены снова)$\nНет – проверить ещё раз$\nОтмена – прервать установку" "Yes – end them (services of the 1C server start again)$\nNo – look again$\nCancel – leave everything as it is"
${Text} TextRestored "Установка не удалась; работает прежняя версия." "Installing failed; the earlier version works again."
${Text} TextRemoved "Установка не удалась; записанные файлы удалены." "Installing failed; its files are removed again."
${Text} TextNotRestored "Установка не удалась, и вернуть прежнюю версию тоже не удалось." "Installing failed, and so did the return to the earlier version."
${Text} TextPurge "Удалить и данные сервера: настройки, ключи, лицензии, журнал? Вернуть их будет нельзя." "Remove the server's data as well: settings, keys, licences, journal? They cannot be brought back."

; Asks for the language where a person sits and none was named.
Function ChooseLanguage
  ${If} $Mode == wizard
  ${AndIf} $SwitchLanguage == ""
    !insertmacro MUI_LANGDLL_DISPLAY
  ${EndIf}
FunctionEnd

Function un.ChooseLanguage
  Push $0
  ${If} $SwitchLanguage == ""
    ReadRegDWORD $0 HKLM "${UNINSTALL_KEY}" "Language"
    ${If} $0 = ${LANG_RUSSIAN}
    ${OrIf} $0 = ${LANG_ENGLISH}
      StrCpy $LANGUAGE $0
    ${EndIf}
  ${EndIf}
  Pop $0
FunctionEnd
