//! Whether a protected object decides itself about licence control.
//!
//! An object module that exports `ПередКонтролемЛицензии` is asked before a seat is needed, so its
//! key must be given without one. Only the readable text of a module is looked at; how it is found
//! and read is `licence_epf`'s matter.

/// The procedure by which an object can do without licence control.
const HOOK: &str = "ПередКонтролемЛицензии";

/// Whether the object in these bytes exports the procedure. Nothing when its module cannot be read
/// as text: compiled, damaged, or not a container of the platform.
pub fn exports_hook(object: &[u8]) -> Option<bool> {
    let module = licence_epf::object_module(object)?;
    licence_epf::bsl::exports(&module, HOOK).ok()
}

#[cfg(test)]
mod tests {
    use licence_epf::{Kind, Source, pack_processor};

    use super::*;

    fn check(module: &str, wanted: Option<bool>) {
        let object = pack_processor(&Source::new(Kind::Processor, "Цены", module)).unwrap();
        assert_eq!(exports_hook(&object), wanted, "{module}");
    }

    #[test]
    fn exported_procedure_is_found_and_nothing_else_is_taken_for_it() {
        check("Процедура ПередКонтролемЛицензии(Отказ) Экспорт\nКонецПроцедуры", Some(true));
        check("procedure передконтролемлицензии (Отказ = Ложь) export endprocedure", Some(true));
        check("Процедура ПередКонтролемЛицензии(О = \")\") Экспорт\nКонецПроцедуры", Some(true));
        check("Процедура ПередКонтролемЛицензии(Отказ)\nКонецПроцедуры", Some(false));
        check("// Процедура ПередКонтролемЛицензии(Отказ) Экспорт", Some(false));
        check("А = \"\n|Процедура ПередКонтролемЛицензии(Отказ) Экспорт\";", Some(false));
        check("Процедура ПередКонтролемЛицензииДва(Отказ) Экспорт\nКонецПроцедуры", Some(false));
    }

    #[test]
    fn object_whose_module_cannot_be_read_tells_nothing() {
        check("Процедура ПередКонтролемЛицензии(Отказ", None);
        assert_eq!(exports_hook(b"not a processor"), None);
    }
}
