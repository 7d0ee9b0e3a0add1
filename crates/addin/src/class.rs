//! The members of the class: names in both languages, parameters, defaults.
//!
//! Tables and look-ups only; what a member does is decided in [`crate::component`].

/// Names of the classes, as asked of the platform: `AddIn.<symbolic name>.LicenceExtension`, and the
/// one that callers of version 2 ask for. Both have the same members.
pub(crate) const CLASSES: [&str; 2] = ["LicenceExtension", "LicenceExtension20"];

/// All of [`CLASSES`] in one text, as a host wants them.
pub(crate) const CLASS_NAMES: &str = "LicenceExtension|LicenceExtension20";

/// The class of this name, whatever its case.
pub(crate) fn find_class(name: &str) -> Option<&'static str> {
    CLASSES.into_iter().find(|own| same_name(own, name))
}

/// What a property is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum PropertyId {
    /// Version of the component.
    Version,
    /// Connection string.
    ConnectionParameters,
    /// Pinned series descriptor.
    SeriesDescriptor,
    /// Class of the last error.
    ErrorClass,
    /// The file with the object manager, for callers of version 2.
    ObjectManager,
    /// Kept for callers of version 2; without effect.
    ConnectionWindow,
    /// Access token for the session keys of ИС МП.
    AccessToken,
}

/// A property of the class.
pub(crate) struct Property {
    pub(crate) id: PropertyId,
    /// English and Russian name.
    pub(crate) names: [&'static str; 2],
    pub(crate) readable: bool,
    pub(crate) writable: bool,
}

/// What a method is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum MethodId {
    CheckVersion,
    Start,
    GetErrorDescription,
    ObjectCreationError,
    GetObjectManager,
    TakeLicence,
    ReleaseLicence,
    GetLicences,
    GetCounters,
    GetServerInfo,
    ReleaseAll,
    SetSession,
    SetWish,
    PrepareObject,
    GetObjectData,
    LoadTemplate,
    IsTemplateLoaded,
    Execute,
    CurrentSessionKey,
    RefreshRequired,
    RefreshRequiredRetail,
    RefreshRequiredByTokenKind,
    RequestAuthorizationParameters,
    RequestSessionKey,
    SessionKeyParameters,
    SessionKeyRequestParameters,
    SetSessionKey,
    ResponsibleSettings,
    Reminders,
    RejectSessionKey,
    CancelRefresh,
    SnoozeReminders,
}

/// Whether the caller may leave a parameter out, and what it is then.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Parameter {
    Required,
    /// `Ложь`.
    OrFalse,
    /// `Истина`.
    OrTrue,
    /// An empty text.
    OrEmptyText,
}

/// A method of the class.
pub(crate) struct Method {
    pub(crate) id: MethodId,
    /// English and Russian name.
    pub(crate) names: [&'static str; 2],
    pub(crate) parameters: &'static [Parameter],
}

impl Method {
    /// Whether it is a procedure: it answers nothing, and its failure is an exception of 1C. Every
    /// other method answers a value and never throws.
    pub(crate) fn is_procedure(&self) -> bool {
        self.id == MethodId::SetSessionKey
    }
}

/// The properties, by index.
pub(crate) static PROPERTIES: [Property; 7] = [
    Property {
        id: PropertyId::Version,
        names: ["Version", "Версия"],
        readable: true,
        writable: false,
    },
    Property {
        id: PropertyId::ConnectionParameters,
        names: ["ConnectionParameters", "ПараметрыСвязи"],
        readable: true,
        writable: true,
    },
    Property {
        id: PropertyId::SeriesDescriptor,
        names: ["SeriesDescriptor", "ОписаниеСерии"],
        readable: false,
        writable: true,
    },
    Property {
        id: PropertyId::ErrorClass,
        names: ["ErrorClass", "КлассОшибки"],
        readable: true,
        writable: false,
    },
    Property {
        id: PropertyId::ObjectManager,
        names: ["ObjectManager", "МенеджерОбъектов"],
        readable: true,
        writable: false,
    },
    Property {
        id: PropertyId::ConnectionWindow,
        names: ["ConnectionWindow", "ОкноУстановкиСвязи"],
        readable: true,
        writable: true,
    },
    Property {
        id: PropertyId::AccessToken,
        names: ["AccessToken", "ТокенДоступа"],
        readable: false,
        writable: true,
    },
];

/// The methods, by index.
pub(crate) static METHODS: [Method; 32] = [
    Method {
        id: MethodId::CheckVersion,
        names: ["CheckVersion", "ПроверитьВерсию"],
        parameters: &[Parameter::Required],
    },
    Method {
        id: MethodId::Start,
        names: ["Start", "Запуск"],
        parameters: &[Parameter::Required, Parameter::OrFalse],
    },
    Method {
        id: MethodId::GetErrorDescription,
        names: ["GetErrorDescription", "ПолучитьОписаниеОшибки"],
        parameters: &[],
    },
    Method {
        id: MethodId::ObjectCreationError,
        names: ["ObjectCreationError", "ОшибкаСозданияОбъекта"],
        parameters: &[Parameter::Required],
    },
    Method {
        id: MethodId::GetObjectManager,
        names: ["GetObjectManager", "ПолучитьМенеджерОбъектов"],
        parameters: &[],
    },
    Method {
        id: MethodId::TakeLicence,
        names: ["TakeLicence", "ЗанятьЛицензию"],
        parameters: &[Parameter::OrEmptyText, Parameter::OrEmptyText],
    },
    Method {
        id: MethodId::ReleaseLicence,
        names: ["ReleaseLicence", "ОсвободитьЛицензию"],
        parameters: &[Parameter::OrEmptyText],
    },
    Method {
        id: MethodId::GetLicences,
        names: ["GetLicences", "ПолучитьЛицензии"],
        parameters: &[Parameter::OrFalse, Parameter::OrFalse],
    },
    Method {
        id: MethodId::GetCounters,
        names: ["GetCounters", "ПолучитьСчетчики"],
        parameters: &[],
    },
    Method {
        id: MethodId::GetServerInfo,
        names: ["GetServerInfo", "ПолучитьИнформациюОСервере"],
        parameters: &[],
    },
    Method {
        id: MethodId::ReleaseAll, names: ["ReleaseAll", "ОсвободитьВсе"], parameters: &[]
    },
    Method {
        id: MethodId::SetSession,
        names: ["SetSession", "УстановитьСеанс"],
        parameters: &[Parameter::Required],
    },
    Method {
        id: MethodId::SetWish,
        names: ["SetWish", "УстановитьУсловия"],
        parameters: &[Parameter::OrEmptyText],
    },
    Method {
        id: MethodId::PrepareObject,
        names: ["PrepareObject", "ПодготовитьОбъект"],
        parameters: &[Parameter::Required],
    },
    Method {
        id: MethodId::GetObjectData,
        names: ["GetObjectData", "ПолучитьДанныеОбъекта"],
        parameters: &[Parameter::Required],
    },
    Method {
        id: MethodId::LoadTemplate,
        names: ["LoadTemplate", "ЗагрузитьМакет"],
        parameters: &[Parameter::Required, Parameter::Required, Parameter::OrFalse],
    },
    Method {
        id: MethodId::IsTemplateLoaded,
        names: ["IsTemplateLoaded", "МакетЗагружен"],
        parameters: &[Parameter::Required],
    },
    Method {
        id: MethodId::Execute,
        names: ["Execute", "ВыполнитьОперацию"],
        parameters: &[Parameter::Required, Parameter::OrEmptyText],
    },
    Method {
        id: MethodId::CurrentSessionKey,
        names: ["CurrentSessionKey", "ТекущийКлючСессии"],
        parameters: &[Parameter::Required, Parameter::OrEmptyText],
    },
    Method {
        id: MethodId::RefreshRequired,
        names: ["RefreshRequired", "ТребуетсяОбновлениеКлючаСессии"],
        parameters: &[Parameter::Required, Parameter::OrEmptyText],
    },
    Method {
        id: MethodId::RefreshRequiredRetail,
        names: ["RefreshRequiredRetail", "ТребуетсяОбновлениеКлючаСессииРозница"],
        parameters: &[Parameter::Required, Parameter::OrEmptyText],
    },
    Method {
        id: MethodId::RefreshRequiredByTokenKind,
        names: ["RefreshRequiredByTokenKind", "ТребуетсяОбновлениеКлючаСессииСУчетомВидаТокена"],
        parameters: &[Parameter::Required, Parameter::OrFalse],
    },
    Method {
        id: MethodId::RequestAuthorizationParameters,
        names: ["RequestAuthorizationParameters", "ЗапроситьПараметрыАвторизации"],
        parameters: &[Parameter::Required],
    },
    Method {
        id: MethodId::RequestSessionKey,
        names: ["RequestSessionKey", "ЗапроситьКлючСессии"],
        parameters: &[Parameter::Required],
    },
    Method {
        id: MethodId::SessionKeyParameters,
        names: ["SessionKeyParameters", "ПараметрыКлючаСессии"],
        parameters: &[],
    },
    Method {
        id: MethodId::SessionKeyRequestParameters,
        names: ["SessionKeyRequestParameters", "ПараметрыЗапросаКлючаСессии"],
        parameters: &[Parameter::Required],
    },
    Method {
        id: MethodId::SetSessionKey,
        names: ["SetSessionKey", "УстановитьКлючСессии"],
        parameters: &[Parameter::Required, Parameter::Required, Parameter::OrTrue],
    },
    Method {
        id: MethodId::ResponsibleSettings,
        names: ["ResponsibleSettings", "НастройкиОтветственногоЗаАктуализациюТокеновАвторизации"],
        parameters: &[Parameter::OrFalse, Parameter::OrEmptyText],
    },
    Method {
        id: MethodId::Reminders,
        names: ["Reminders", "ПолучитьНапоминанияОтветственномуЗаАктуализациюТокеновАвторизации"],
        parameters: &[Parameter::Required],
    },
    Method {
        id: MethodId::RejectSessionKey,
        names: ["RejectSessionKey", "ОтклонитьКлючСессии"],
        parameters: &[Parameter::Required, Parameter::Required],
    },
    Method {
        id: MethodId::CancelRefresh,
        names: ["CancelRefresh", "ОтменитьОбновлениеКлючаСессии"],
        parameters: &[Parameter::Required],
    },
    Method {
        id: MethodId::SnoozeReminders,
        names: ["SnoozeReminders", "ОтложитьНапоминанияОТокенахАвторизации"],
        parameters: &[Parameter::OrEmptyText],
    },
];

/// Index of the property of this name in either language, whatever its case.
pub(crate) fn find_property(name: &str) -> Option<usize> {
    PROPERTIES.iter().position(|property| property.names.iter().any(|own| same_name(own, name)))
}

/// Index of the method of this name in either language, whatever its case.
pub(crate) fn find_method(name: &str) -> Option<usize> {
    METHODS.iter().position(|method| method.names.iter().any(|own| same_name(own, name)))
}

/// Whether two names are equal but for case. By Unicode and never by the process's locale: a
/// server with an English locale must find Russian names.
pub(crate) fn same_name(a: &str, b: &str) -> bool {
    a == b || a.chars().flat_map(char::to_lowercase).eq(b.chars().flat_map(char::to_lowercase))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_both_languages_and_any_case() {
        for (name, index) in [
            ("Версия", Some(0)),
            ("ВЕРСИЯ", Some(0)),
            ("version", Some(0)),
            ("параметрысвязи", Some(1)),
            ("КлассОшибки", Some(3)),
            ("Версия ", None),
            ("", None),
        ] {
            assert_eq!(find_property(name), index, "{name}");
        }
        for (name, index) in [("ЗАПУСК", Some(1)), ("releaseall", Some(10)), ("Версия", None)]
        {
            assert_eq!(find_method(name), index, "{name}");
        }
    }

    #[test]
    fn classes_are_found_by_name_and_listed() {
        assert_eq!(CLASSES.join("|"), CLASS_NAMES);
        assert_eq!(find_class("licenceextension20"), Some("LicenceExtension20"));
        assert_eq!(find_class("LicenceExtension"), Some("LicenceExtension"));
        assert_eq!(find_class("LicenceExtension2"), None);
    }

    #[test]
    fn no_two_members_share_a_name() {
        let mut names: Vec<String> = PROPERTIES
            .iter()
            .flat_map(|property| property.names)
            .chain(METHODS.iter().flat_map(|method| method.names))
            .map(str::to_lowercase)
            .collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
