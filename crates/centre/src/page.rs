//! The one page of the centre: a person without licencekit pastes a file request and takes the
//! answer as a file. Russian or English, usable without script.
//!
//! Makes HTML and reads the form; what the request brings is decided elsewhere.

use licencekit::text::Language;

/// What a browser may do on the page: nothing but load its style and script from here and send
/// its form here.
pub const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; \
     form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The style sheet.
pub const STYLE: &str = include_str!("page.css");

/// Puts the text of a chosen file into the field; without it the text is pasted.
pub const SCRIPT: &str = include_str!("page.js");

/// Name of the form's only field.
const FIELD: &str = "request";

/// The page, with what went wrong if anything did.
pub fn html(language: Language, problem: Option<&str>) -> String {
    let pick = |english: &'static str, russian: &'static str| language.pick(english, russian);
    let problem = problem
        .map(|text| format!("<p class=\"problem\" role=\"alert\">{}</p>\n", escaped(text)))
        .unwrap_or_default();
    format!(
        "<!DOCTYPE html>\n<html lang=\"{tag}\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<link rel=\"stylesheet\" href=\"page.css\">\n\
         <script src=\"page.js\" defer></script>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n\
         {problem}<p>{lead}</p>\n\
         <form method=\"post\" action=\"requests\" accept-charset=\"utf-8\">\n\
         <p id=\"file-line\" hidden><label for=\"file\">{file}</label> \
         <input type=\"file\" id=\"file\" accept=\".request,text/plain\"></p>\n\
         <p><label for=\"request\">{text}</label>\n\
         <textarea id=\"request\" name=\"{FIELD}\" rows=\"10\" required spellcheck=\"false\" \
         autocomplete=\"off\"></textarea></p>\n\
         <p><button type=\"submit\">{send}</button></p>\n</form>\n<p>{after}</p>\n<p><a href=\"my\">{my}</a></p>\n</main>\n\
         </body>\n</html>\n",
        tag = language.tag(),
        title = pick("Activation centre", "Центр активации"),
        lead = pick(
            "A licence server without internet makes a request file: paste its text here and \
             take the answer back to the server.",
            "Сервер лицензирования без доступа к интернету создаёт файл запроса: вставьте сюда \
             его текст и перенесите ответ на сервер.",
        ),
        file = pick("Request file:", "Файл запроса:"),
        text = pick("Text of the request:", "Текст запроса:"),
        my = pick(
            "Your key: where it is installed, a spare code, what to do when the server is dead",
            "Ваш ключ: где установлен, запасной код, что делать, если сервер сломался",
        ),
        send = pick("Get the answer", "Получить ответ"),
        after = pick(
            "Load the answer file in the console of the licence server. It may hold a reserve \
             code: do not show it to others.",
            "Загрузите файл ответа в консоли сервера лицензирования. В нём может быть резервный \
             код: не показывайте его посторонним.",
        ),
    )
}

/// The request in the body of the form; nothing when there is none.
pub fn form_request(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    let prefix = format!("{FIELD}=");
    let value = text.split('&').find_map(|pair| pair.strip_prefix(prefix.as_str()))?;
    let spaced = value.replace('+', " ");
    let decoded = percent_encoding::percent_decode_str(&spaced).decode_utf8().ok()?;
    // Mail programs fold long lines; a token holds no white space of its own.
    let token: String = decoded.split_whitespace().collect();
    (!token.is_empty()).then_some(token)
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problem_on_the_page_cannot_become_markup() {
        let page = html(Language::English, Some("<script>alert('1')</script>\" & more"));
        assert!(page.contains("&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&quot; &amp; more"));
        assert!(!page.contains("<script>alert"));
        assert!(html(Language::Russian, None).contains("<html lang=\"ru\">"));
    }

    #[test]
    fn form_gives_the_token_without_white_space_or_nothing() {
        for (body, wanted) in [
            ("request=a.b.c", Some("a.b.c")),
            ("x=1&request=a.%62.c%0D%0Ad+", Some("a.b.cd")),
            ("request=", None),
            ("request=+%0A", None),
            ("other=a", None),
            ("request=%FF", None),
            ("", None),
        ] {
            assert_eq!(form_request(body.as_bytes()).as_deref(), wanted, "{body}");
        }
        assert_eq!(form_request(b"request=\xff"), None);
    }
}
