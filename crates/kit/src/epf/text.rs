//! What `epf` and `stub` say in Russian.

use licence_core::causes::with_causes;
use licence_epf::bsl::{BslError, BslErrorKind, MODULE_BYTES_MAX};
use licence_epf::container::{self, ContainerError};
use licence_epf::source::{DESCRIPTOR, NAME_CHARS_MAX, WORDS_CHARS_MAX};
use licence_epf::stub::StubError;
use licence_epf::{PackError, SourceError, UnpackError};

use super::EpfFailure;
use crate::text::russian_file;

/// A failure on one line.
pub(crate) fn russian(failure: &EpfFailure) -> String {
    match failure {
        EpfFailure::Ending { path, wanted } => {
            format!("{}: файлу этого вида нужно расширение .{wanted}", path.display())
        }
        EpfFailure::File(error) => russian_file(error),
        EpfFailure::Folder(path) => format!(
            "{}: это не каталог исходных текстов: слишком много файлов или уровней либо имя не \
             является текстом",
            path.display()
        ),
        EpfFailure::Pack { path, source } => {
            let what = match source {
                PackError::Container(error) => russian_container(error),
                PackError::Source(error) => russian_source(error),
                other => with_causes(other),
            };
            format!("{}: {what}", path.display())
        }
        EpfFailure::Stub { path, source } => {
            format!("{}: {}", path.display(), russian_stub(source))
        }
        EpfFailure::Unpack { path, source } => {
            format!("{}: {}", path.display(), russian_unpack(source))
        }
    }
}

fn russian_container(error: &ContainerError) -> String {
    match error {
        ContainerError::Compressed(name) => format!("элемент {name:?}: данные не сжаты"),
        ContainerError::Depth => {
            format!("вложенность контейнеров больше {}", container::DEPTH_MAX)
        }
        ContainerError::Duplicate(name) => format!("элемент {name:?} встречается дважды"),
        ContainerError::Magic => "файл не начинается как контейнер 1С".into(),
        ContainerError::Name => format!(
            "имя элемента должно быть текстом длиной от 1 до {} символов",
            container::NAME_CHARS_MAX
        ),
        ContainerError::Page(at) => format!("страница по адресу {at} повреждена"),
        ContainerError::Table => "оглавление контейнера повреждено".into(),
        ContainerError::TooLarge => "контейнер больше допустимого".into(),
        ContainerError::Wide => "64-разрядный контейнер не поддерживается".into(),
        other => other.to_string(),
    }
}

fn russian_source(error: &SourceError) -> String {
    match error {
        SourceError::Descriptor(error) => format!("{DESCRIPTOR}: {error}"),
        SourceError::File(file) => format!("{file}: файл не относится к исходным текстам"),
        SourceError::Form(file) => format!("{file}: формы не поддерживаются"),
        SourceError::Name(name) => format!(
            "{name:?} не является именем: буква или _, затем буквы, цифры и _, до \
             {NAME_CHARS_MAX} символов"
        ),
        SourceError::NoDescriptor => format!("нет файла {DESCRIPTOR}"),
        SourceError::NoTemplate(name) => format!("у макета {name:?} нет файла"),
        SourceError::NotText(file) => format!("{file}: это не текст в UTF-8"),
        SourceError::TwoTemplates(name) => {
            format!(
                "у макета {name:?} два файла, или имена двух макетов различаются лишь регистром"
            )
        }
        SourceError::Uuid(uuid) => {
            format!("идентификатор {uuid} пуст или обозначает два разных объекта")
        }
        SourceError::Words(what) => {
            format!("{what}: до {WORDS_CHARS_MAX} символов без управляющих")
        }
        other => other.to_string(),
    }
}

fn russian_stub(error: &StubError) -> String {
    match error {
        StubError::Async { name, line } => {
            format!("строка {line}: метод {name:?} асинхронный, его вызов нельзя передать")
        }
        StubError::Bsl(error) => russian_bsl(error),
        StubError::Contract { name, parameters, line } => format!(
            "строка {line}: {name:?} вызывает менеджер объектов, метод должен быть экспортным, \
             параметров: {parameters}"
        ),
        StubError::Directive { directive, name, line } => format!(
            "строка {line}: директива {directive} метода {name:?} не подходит объекту на сервере"
        ),
        StubError::Name(name) => format!("{name:?} не является именем"),
        StubError::Nothing => "в модуле нет экспортных методов".into(),
        StubError::Reserved => "в модуле занято имя МенеджерОбъектовСЛК, нужное обработке".into(),
        StubError::Shadowed { name, line } => format!(
            "строка {line}: {name:?} называется как функция, которую вызывают заглушки: задайте другую"
        ),
        StubError::Statement(line) => {
            format!("строка {line}: операторы вне методов защитить нельзя")
        }
        StubError::Variable(line) => {
            format!("строка {line}: обращение к экспортной переменной нельзя передать")
        }
        other => other.to_string(),
    }
}

fn russian_bsl(error: &BslError) -> String {
    let what = match &error.kind {
        BslErrorKind::Character(character) => {
            format!("символ {character:?} не относится к языку")
        }
        BslErrorKind::Head(text) => format!("заголовок метода непонятен на {text:?}"),
        BslErrorKind::Literal => "строка или дата не закончена".into(),
        BslErrorKind::Misplaced(text) => format!("{text:?} не на своём месте"),
        BslErrorKind::Size => format!("модуль больше {MODULE_BYTES_MAX} байт"),
        BslErrorKind::Unfinished(name) => format!("модуль кончается внутри метода {name:?}"),
        other => other.to_string(),
    };
    format!("строка {}: {what}", error.line)
}

fn russian_unpack(error: &UnpackError) -> String {
    let forms = "не поддерживаются; без разбора объект раскладывает --raw";
    match error {
        UnpackError::Attributes => format!("реквизиты объекта {forms}"),
        UnpackError::Container(error) => russian_container(error),
        UnpackError::Element(name) => format!("элемент {name:?} непонятен"),
        UnpackError::Forms => format!("формы объекта {forms}"),
        UnpackError::Missing(name) => format!("нет элемента {name:?}"),
        UnpackError::Module => "модуль закрыт паролем или сохранён без текста".into(),
        UnpackError::Source(error) => russian_source(error),
        UnpackError::Tables => format!("табличные части объекта {forms}"),
        UnpackError::Template(uuid) => format!("макет {uuid}: не текст и не двоичные данные"),
        other => with_causes(other),
    }
}
