//! A stand-in for an activation centre, played by a closure: it does what a test says, signs with the
//! real key of the series, and can cut the connection after it has made up its mind.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use licence_core::activation_request::ActivationCall;

/// What the centre does with a request.
pub(crate) enum Said {
    /// Answers.
    Answer(u16, String),
    /// Has done its part, and the connection breaks before the answer is out.
    Cut,
}

pub(crate) struct Played {
    pub(crate) url: String,
    /// Requests as they came: path and token.
    pub(crate) asked: Arc<Mutex<Vec<(String, String)>>>,
}

impl Played {
    pub(crate) fn open(said: impl FnMut(&str, &str) -> Said + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (kept, mut said) = (Arc::clone(&asked), said);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                serve(stream, &kept, &mut said);
            }
        });
        Self { url, asked }
    }

    /// The tokens that have come to this path.
    pub(crate) fn tokens(&self, path: &str) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|(to, _)| to == path).map(|(_, token)| token.clone()).collect()
    }
}

fn serve(
    stream: TcpStream,
    asked: &Mutex<Vec<(String, String)>>,
    said: &mut impl FnMut(&str, &str) -> Said,
) {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).unwrap_or(0) == 0 {
            return;
        }
    }
    let path = head.split(' ').nth(1).unwrap().to_owned();
    let length = head
        .to_ascii_lowercase()
        .split_once("content-length: ")
        .map_or(0, |(_, rest)| rest.split("\r\n").next().unwrap().parse::<usize>().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let token = match serde_json::from_slice::<ActivationCall>(&body) {
        Ok(call) => call.request,
        Err(_) => String::new(),
    };
    asked.lock().unwrap().push((path.clone(), token.clone()));
    if path == "/health" {
        answer(&mut reader, 200, "{}");
        return;
    }
    match said(&path, &token) {
        Said::Answer(status, text) => answer(&mut reader, status, &text),
        Said::Cut => {}
    }
}

fn answer(reader: &mut BufReader<TcpStream>, status: u16, text: &str) {
    // Whoever asked may be gone.
    let _ = write!(
        reader.get_mut(),
        "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
        text.len()
    );
}
