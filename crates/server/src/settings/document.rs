//! Texts made of the table of keys: the sample conf file and the reference for administrators.

use std::fmt::Write;

use super::catalogue::{ENTRIES, Entry, Kind, OPEN_SECTIONS};

/// Characters in a line of the sample.
const LINE_CHARS_MAX: usize = 100;

/// `examples/licenceserver.conf`: every key with its default and a comment.
pub fn sample() -> String {
    let mut text = String::from(
        "; Settings of the licence server: 3.0/licenceserver.conf below the data folder.\n\
         ; Text in UTF-8. Lines that begin with ; or # are comments; a value runs to the end of \
         its line,\n\
         ; so a password may contain ; and #. Every key may be left out; the values shown are the \
         defaults.\n\
         ; The server reads the file again when it has changed; what needs a restart says so.\n",
    );
    for section in sections() {
        text.push_str(&format!("\n[{section}]\n"));
        for entry in ENTRIES.iter().filter(|entry| entry.section == section) {
            let restart = if entry.needs_restart { " Needs a restart." } else { "" };
            comment(&mut text, &format!("{}{restart}", entry.english));
            text.push_str(&format!("{}={}\n", entry.key, entry.default));
        }
    }
    for open in OPEN_SECTIONS {
        text.push_str(&format!("\n[{}]\n", open.section));
        comment(&mut text, open.english);
        if !open.example.is_empty() {
            text.push_str(&format!(";{}\n", open.example));
        }
    }
    text
}

/// Sections of the table, in its order.
fn sections() -> Vec<&'static str> {
    let mut sections: Vec<_> = ENTRIES.iter().map(|entry| entry.section).collect();
    sections.dedup();
    sections
}

fn comment(text: &mut String, words: &str) {
    let mut line = String::from(";");
    for word in words.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > LINE_CHARS_MAX {
            text.push_str(&line);
            text.push('\n');
            line = String::from(";");
        }
        line.push(' ');
        line.push_str(word);
    }
    text.push_str(&line);
    text.push('\n');
}

/// `docs/settings.md`: every key in both languages.
pub fn reference() -> String {
    let mut text = String::from(
        "# Settings of the server\n\n\
         Made of the table in `crates/server/src/settings/catalogue.rs`; a test holds it to that \
         (`LICENCE_UPDATE_DOCS=1` writes it anew).\n\n\
         The file is `3.0/licenceserver.conf` below the data folder, ini in UTF-8. Lines that \
         begin with `;` or `#` are comments, a value runs to the end of its line, names keep their \
         case, the last of a repeated key counts. The console and `PUT /api/settings` write changes \
         back with comments, order and unknown keys kept. The server looks at the file every \
         second and takes a change up within two; what is in force after a restart only is marked \
         ⟳. A file with an error changes nothing in a running server, and stops a start with the \
         line and the reason.\n\n\
         Файл ini в кодировке UTF-8. Консоль и `PUT /api/settings` записывают изменения, сохраняя \
         комментарии, порядок и неизвестные ключи. Изменённый файл сервер перечитывает сам в \
         течение двух секунд; знаком ⟳ отмечено то, что действует после перезапуска. Файл с \
         ошибкой не влияет на работающий сервер, а при запуске ошибка называется со строкой и \
         причиной.\n",
    );
    for section in sections() {
        text.push_str(&format!(
            "\n## [{section}]\n\n| key | takes | default | meaning | назначение |\n\
             | --- | --- | --- | --- | --- |\n"
        ));
        for entry in ENTRIES.iter().filter(|entry| entry.section == section) {
            row(&mut text, entry);
        }
    }
    for open in OPEN_SECTIONS {
        let example = if open.example.is_empty() {
            String::new()
        } else {
            format!("\n```ini\n{}\n```\n", open.example)
        };
        text.push_str(&format!(
            "\n## [{}]\n\n{}\n\n{}\n{example}",
            open.section, open.english, open.russian
        ));
    }
    text
}

fn row(text: &mut String, entry: &Entry) {
    let takes = match entry.kind {
        Kind::Choice(words) => words.join(", "),
        Kind::Flag => "0, 1".to_owned(),
        Kind::List => "list".to_owned(),
        Kind::Number { min, max } => format!("{min}–{max}"),
        Kind::Secret => "secret".to_owned(),
        Kind::Text => "text".to_owned(),
    };
    let mark = if entry.needs_restart { " ⟳" } else { "" };
    let default =
        if entry.default.is_empty() { String::new() } else { format!("`{}`", entry.default) };
    // Writing to a string does not fail.
    let _written = writeln!(
        text,
        "| `{}`{mark} | {takes} | {default} | {} | {} |",
        entry.key, entry.english, entry.russian
    );
}
