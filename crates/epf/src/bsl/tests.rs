//! Tests of the reader of heads, with what real modules and nasty ones hold.

use proptest::prelude::*;

use super::*;

fn heads(text: &str) -> Vec<String> {
    methods(text)
        .unwrap()
        .iter()
        .map(|method| {
            let parameters: Vec<String> = method
                .parameters
                .iter()
                .map(|parameter| {
                    let mut shown = String::new();
                    if parameter.by_value {
                        shown.push('*');
                    }
                    shown.push_str(&parameter.name);
                    if let Some(default) = &parameter.default {
                        shown.push('=');
                        shown.push_str(default);
                    }
                    shown
                })
                .collect();
            let mark = if method.exported { "!" } else { "" };
            format!("{}{mark}({})", method.name, parameters.join(","))
        })
        .collect()
}

#[test]
fn heads_are_found_in_both_languages_and_any_case() {
    let check = |text: &str, wanted: &[&str]| assert_eq!(heads(text), wanted, "{text:?}");
    check("", &[]);
    check("Процедура А() КонецПроцедуры", &["А()"]);
    check("ПРОЦЕДУРА А(Б) экспорт конецпроцедуры", &["А!(Б)"]);
    check(
        "Function F(Val A, B = Undefined) Export\nReturn 1;\nEndFunction",
        &["F!(*A,B=Undefined)"],
    );
    check(
        "Функция А(Знач Б = -1.5, В = \"а,)\"\"б\", Г = '2020-01-01', Д = Истина) Экспорт КонецФункции",
        &["А!(*Б=-1.5,В=\"а,)\"\"б\",Г='2020-01-01',Д=Истина)"],
    );
    check(
        "&НаСервере\nПроцедура А() КонецПроцедуры\n;\n&НаКлиенте Функция Б() КонецФункции",
        &["А()", "Б()"],
    );
    check(
        "Процедура А( // первая (\n\tБ, // вторая ) Экспорт\n\tВ) // третья\n\tЭкспорт\nКонецПроцедуры",
        &["А!(Б,В)"],
    );
    check("Асинх Функция А() Экспорт КонецФункции", &["А!()"]);
}

#[test]
fn what_only_looks_like_a_head_is_passed_over() {
    let check = |body: &str| {
        let text =
            format!("Процедура А()\n{body}\nКонецПроцедуры\nФункция Б() Экспорт КонецФункции");
        assert_eq!(heads(&text), ["А()", "Б!()"], "{body:?}");
    };
    check("// Процедура В() Экспорт");
    check("С = \"КонецПроцедуры\";");
    check(
        "С = \"первая\n\t|КонецПроцедуры \"\"в кавычках\"\"\n\t// КонецПроцедуры \"\n\n\t|третья\";",
    );
    check("Объект.Процедура(1); Объект . Функция = 2;");
    check("#Если Сервер Тогда\nС = 1;\n#КонецЕсли");
    check("#Область КонецПроцедуры\n#КонецОбласти");
    check("~Метка: Перейти ~Метка; С = ?(Б, 1, 2) % 3; М[0] = 'КонецПроцедуры';");
    check("ПроцедураБезКонца = КонецПроцедурыНет;");
    check("Перем В; В = 20201231;");
}

#[test]
fn items_outside_of_methods_are_told_apart() {
    let text = "\u{feff}#Область Имя\nПерем А Экспорт, Б;\nПерем В;\n// о методе\n&НаСервере\n\
        Процедура Г() КонецПроцедуры\n#КонецОбласти\nА = 1; Б = 2;";
    let items = items(text).unwrap();
    let shown: Vec<String> = items
        .iter()
        .map(|item| match item {
            Item::Method(method) => {
                assert_eq!(&text[method.directives_at.clone()], "&НаСервере");
                format!("{} {:?} {:?}", method.name, method.comments, method.directives)
            }
            Item::Preprocessor { text, line } => format!("{text} {line}"),
            Item::Statement { line } => format!("statement {line}"),
            Item::Variable { exported, line } => format!("variable {exported} {line}"),
        })
        .collect();
    assert_eq!(
        shown,
        [
            "#Область Имя 1",
            "variable true 2",
            "variable false 3",
            "Г [\"// о методе\"] [\"&НаСервере\"]",
            "#КонецОбласти 7",
            "statement 8",
        ]
    );
}

#[test]
fn comment_apart_from_the_method_is_not_its_own() {
    let comments = |text: &str| methods(text).unwrap().remove(0).comments;
    assert_eq!(comments("// а\n// б\nПроцедура А() КонецПроцедуры"), ["// а", "// б"]);
    assert_eq!(comments("// а\n\nПроцедура А() КонецПроцедуры"), [""; 0]);
    assert_eq!(comments("// а\n\n// б\nПроцедура А() КонецПроцедуры"), ["// б"]);
}

#[test]
fn broken_modules_are_refused_with_the_line() {
    let check = |text: &str, line: usize, wanted: &str| {
        let error = methods(text).unwrap_err();
        assert_eq!(error.line, line, "{text:?}: {error}");
        assert!(error.to_string().contains(wanted), "{error} does not say {wanted:?}");
    };
    check("\nПроцедура А()", 2, "ends within");
    check("Процедура А()\nКонецФункции", 2, "КонецФункции");
    check("Процедура А()\nПроцедура Б()\nКонецПроцедуры", 2, "Процедура");
    check("КонецПроцедуры", 1, "out of place");
    check("Процедура ()", 1, "(");
    check("Процедура А(Б = )", 1, ")");
    check("Процедура А(Б\nВ)", 2, "В");
    check("Процедура А(,)", 1, ",");
    check("Процедура А", 1, "not understood");
    check("Процедура А()\nС = \"открыта\nКонецПроцедуры", 2, "does not end");
    check("Процедура А()\nС = '2020\nКонецПроцедуры", 2, "does not end");
    check("\n&НаСервере", 2, "&НаСервере");
    check("Процедура А() ` КонецПроцедуры", 1, "'`'");
    check("Перем А", 1, "Перем");
}

#[test]
fn exported_name_is_found_whatever_its_case() {
    let text = "Процедура ПередКонтролемЛицензии(Отказ) Экспорт КонецПроцедуры\n\
        Процедура Своя() КонецПроцедуры";
    assert!(exports(text, "передконтролемлицензии").unwrap());
    assert!(!exports(text, "Своя").unwrap());
    assert!(!exports(text, "Чужая").unwrap());
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(
        words in proptest::collection::vec(
            prop::sample::select(vec![
                "Процедура", "Функция", "КонецПроцедуры", "Экспорт", "Асинх", "Перем", "Знач", "А",
                "(", ")", ",", "=", ";", ".", "\"", "|", "\n", "//", "#Если", "&НаСервере", "'",
                "1", "/", "ё", " ",
            ]),
            0..40,
        ),
    ) {
        let _ = items(&words.concat());
        let _ = items(&words.join(" "));
    }
}
