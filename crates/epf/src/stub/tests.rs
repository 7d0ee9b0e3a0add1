//! Tests of the stub generator.

use super::*;
use crate::bsl::methods;

fn open(module: &str) -> String {
    generate(module, "Объект", CALL).unwrap().open_module
}

#[test]
fn call_is_forwarded_with_names_values_and_comments() {
    let check = |module: &str, wanted: &str| assert_eq!(open(module), wanted, "{module:?}");
    check(
        "Процедура А() Экспорт КонецПроцедуры",
        "Процедура А() Экспорт\n\tСоздатьОбъектСЛК(\"Объект\").А();\nКонецПроцедуры\n",
    );
    check(
        "// О чём она.\n&НаСервере\nФункция А(Знач Б, В = \"х\"\"у\", Г = -5) Экспорт\r\n\tВозврат 1;\r\nКонецФункции",
        "// О чём она.\n&НаСервере\nФункция А(Знач Б, В = \"х\"\"у\", Г = -5) Экспорт\n\
         \tВозврат СоздатьОбъектСЛК(\"Объект\").А(Б, В, Г);\nКонецФункции\n",
    );
    check(
        "function F(val A = undefined) export return A; endfunction",
        "Function F(Val A = undefined) Export\n\
         \tReturn СоздатьОбъектСЛК(\"Объект\").F(A);\nEndFunction\n",
    );
}

#[test]
fn object_behind_an_alias_is_called_by_both_and_named_by_the_second() {
    let module = "Процедура А() Экспорт КонецПроцедуры";
    let stub = generate(module, "Данные.Цены", "Общий.Объект").unwrap();
    assert!(stub.open_module.contains("\tОбщий.Объект(\"Данные.Цены\").А();\n"), "{stub:?}");
    assert_eq!(stub.processor.name, "Цены");
    for name in ["Данные.", ".Цены", "А.Б.В", "Да нные.Цены"] {
        assert_eq!(generate(module, name, CALL), Err(StubError::Name(name.into())), "{name}");
    }
}

#[test]
fn stub_that_would_call_itself_or_a_parameter_is_refused() {
    let check = |module: &str, call: &str, wanted: Option<&str>| {
        let found = match generate(module, "Объект", call) {
            Err(StubError::Shadowed { name, line: 1 }) => Some(name),
            Ok(_) => None,
            Err(other) => panic!("{module:?}: {other}"),
        };
        assert_eq!(found.as_deref(), wanted, "{module:?}");
    };
    let own = "Функция создатьобъектслк(Имя) Экспорт Возврат 1; КонецФункции";
    check(own, CALL, Some("создатьобъектслк"));
    check(own, "Общий.СоздатьОбъектСЛК", None);
    let parameter = "Процедура А(ОБЩИЙ) Экспорт КонецПроцедуры";
    check(parameter, "Общий.Объект", Some("ОБЩИЙ"));
    check(parameter, "Общий", None);
}

#[test]
fn handler_that_the_manager_would_not_find_is_refused() {
    let check = |handler: &str, wanted: usize| {
        let module = format!("Процедура А() Экспорт КонецПроцедуры\n{handler}");
        match generate(&module, "Объект", CALL) {
            Err(StubError::Contract { parameters, line: 2, .. }) => assert_eq!(parameters, wanted),
            other => panic!("{handler}: {other:?}"),
        }
    };
    check("Процедура ПриСозданииОбъекта(М, О, Т) КонецПроцедуры", 3);
    check("Процедура ПриСозданииОбъекта(М) Экспорт КонецПроцедуры", 3);
    check("Процедура ПриСоздании(М, О, Т) Экспорт КонецПроцедуры", 4);
    check("Функция ПередКонтролемЛицензии() Экспорт КонецФункции", 1);
    check("Процедура ПередКонтролемЛицензии(О, И) Экспорт КонецПроцедуры", 1);
    let module = "Процедура А() Экспорт КонецПроцедуры\n\
        Процедура ПередКонтролемЛицензии(О, И = 1) Экспорт КонецПроцедуры";
    assert_eq!(generate(module, "Объект", CALL).unwrap().forwarded, 1);
}

#[test]
fn own_methods_and_the_contract_stay_closed() {
    let module = "Процедура А() Экспорт КонецПроцедуры\n\
        Процедура Своя() КонецПроцедуры\n\
        Процедура ПриСозданииОбъекта(М, О, Т) Экспорт КонецПроцедуры\n\
        Процедура ПриСоздании(М, К, О, Т) Экспорт КонецПроцедуры\n\
        Процедура ПередКонтролемЛицензии(Отказ) Экспорт КонецПроцедуры";
    let stub = generate(module, "Объект", CALL).unwrap();
    assert_eq!(stub.forwarded, 1);
    let names: Vec<_> =
        methods(&stub.open_module).unwrap().into_iter().map(|method| method.name).collect();
    assert_eq!(names, ["А"]);
    assert_eq!(stub.processor.module, module, "the module brings its own contract");
}

#[test]
fn processor_has_the_whole_module_and_the_contract() {
    let module = "&НаСервере\nПроцедура А() Экспорт\n\tСвоя();\nКонецПроцедуры\n\
        Процедура Своя() КонецПроцедуры";
    let stub = generate(module, "Объект", CALL).unwrap();
    let text = &stub.processor.module;
    assert!(!text.contains('&'), "{text}");
    let found = methods(text).unwrap();
    let lines: Vec<_> = found.iter().map(|method| (method.name.as_str(), method.line)).collect();
    assert_eq!(lines[..2], [("А", 3), ("Своя", 6)], "one line below those of the module");
    assert_eq!(found[2].name, "ПриСозданииОбъекта");
    assert!(found[2].exported);
    assert_eq!(found[2].parameters.len(), 3);
    assert_eq!(stub.processor.name, "Объект");
}

#[test]
fn conditions_and_regions_stay_where_something_is_left_in_them() {
    let module = "#Область Внешняя\n#Область Пустая\nПроцедура Своя() КонецПроцедуры\n\
        #КонецОбласти\n#Если Сервер Тогда\nПроцедура А() Экспорт КонецПроцедуры\n#Иначе\n\
        #КонецЕсли\n#Если Клиент Тогда\n#Иначе\n#КонецЕсли\n#КонецОбласти";
    let lines: Vec<String> =
        open(module).lines().filter(|line| line.starts_with('#')).map(str::to_owned).collect();
    assert_eq!(
        lines,
        ["#Область Внешняя", "#Если Сервер Тогда", "#Иначе", "#КонецЕсли", "#КонецОбласти"]
    );
}

#[test]
fn stubs_are_a_module_again() {
    let module = "Процедура А(Б = \"первая\n\t|вторая\") Экспорт КонецПроцедуры\n\
        Функция Ф(Дата = '20200101') Экспорт КонецФункции";
    let again = methods(&open(module)).unwrap();
    let first = methods(module).unwrap();
    let heads = |methods: &[Method]| -> Vec<_> {
        methods.iter().map(|method| (method.name.clone(), method.parameters.clone())).collect()
    };
    assert_eq!(heads(&again), heads(&first));
}

#[test]
fn what_cannot_be_forwarded_is_refused_with_its_line() {
    let check = |module: &str, wanted: &str| {
        let error = generate(module, "Объект", CALL).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error:?} does not say {wanted:?}");
    };
    check("\nАсинх Функция А() Экспорт КонецФункции", "line 2: \"А\" is asynchronous");
    check("Async Procedure A() Export EndProcedure", "asynchronous");
    check("&НаКлиенте\nПроцедура А() Экспорт КонецПроцедуры", "&НаКлиенте");
    check("&Вместо(\"Б\")\nПроцедура А() Экспорт КонецПроцедуры", "&Вместо(\"Б\")");
    check("Перем А Экспорт;", "line 1: an exported variable");
    check("Процедура А() Экспорт КонецПроцедуры\nБ = 1;", "line 2: statements");
    check("Процедура А() КонецПроцедуры", "exports nothing");
    check("Процедура А(менеджеробъектовслк) Экспорт КонецПроцедуры", "МенеджерОбъектовСЛК");
    check("Процедура А(", "line 1");
    assert_eq!(
        generate("", "1", CALL).unwrap_err(),
        StubError::Name("1".into()),
        "the object's name"
    );
    let module = "Процедура А() Экспорт КонецПроцедуры";
    assert_eq!(generate(module, "О", "а б").unwrap_err(), StubError::Name("а б".into()));
    assert!(generate(module, "О", "СЛК.Создать").is_ok(), "a function of a common module");
}
