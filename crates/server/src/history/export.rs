//! Events as a file: CSV or a JSON object, made page by page so that no length is too long.
//!
//! Between two pages nothing of the database is held, however slowly the file is read.

use std::io;

use hyper::body::Bytes;
use tokio::sync::mpsc;

use super::csv::{BYTE_ORDER_MARK, Csv};
use super::wire::text;
use super::{Event, EventFilter, EventView, History};
use crate::api::errors::ApiError;

/// Events read at a time: some 400 KB.
const PAGE: usize = 1000;

/// What an export is written as.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ExportFormat {
    /// Lines, with the most asked of the detail in columns of its own.
    Csv(Csv),
    /// `{"Events": […], "Next": null}`, as the list has it.
    Json,
}

const HEADINGS: [&str; 14] = [
    "No",
    "Time",
    "Kind",
    "Subject",
    "KeyNo",
    "KeyID",
    "Reason",
    "UserName",
    "ComputerName",
    "AppName",
    "InfoBaseConnectionStr",
    "Actor",
    "Text",
    "Detail",
];

impl History {
    /// Sends the events that the filter lets through, the newest first and at most its `limit` of
    /// them, as a file in parts. The first page is read before this returns; a later one that
    /// cannot be read ends the file with an error, so that nobody takes the torso for the whole.
    ///
    /// # Errors
    ///
    /// See [`History::events`].
    pub async fn export(
        &self,
        mut filter: EventFilter,
        format: ExportFormat,
        sender: mpsc::Sender<io::Result<Bytes>>,
    ) -> Result<(), ApiError> {
        let mut left = filter.limit;
        filter.limit = left.min(PAGE);
        let mut page = self.events(filter.clone()).await?;
        let history = self.clone();
        tokio::spawn(async move {
            let mut writer = ExportWriter { format, is_first: true };
            let mut text = writer.head();
            loop {
                for event in &page {
                    writer.event(&mut text, event);
                }
                left -= page.len().min(left);
                let is_last = page.len() < filter.limit || left == 0;
                if is_last {
                    writer.tail(&mut text);
                }
                // Whoever has gone reads no more.
                if sender.send(Ok(Bytes::from(std::mem::take(&mut text)))).await.is_err() || is_last
                {
                    return;
                }
                filter.before = page.last().map(|event| event.no);
                filter.limit = left.min(PAGE);
                page = match history.events(filter.clone()).await {
                    Ok(page) => page,
                    Err(error) => {
                        drop(sender.send(Err(io::Error::other(error))).await);
                        return;
                    }
                };
            }
        });
        Ok(())
    }
}

struct ExportWriter {
    format: ExportFormat,
    is_first: bool,
}

impl ExportWriter {
    fn head(&self) -> String {
        match self.format {
            ExportFormat::Csv(csv) => {
                let mut head = BYTE_ORDER_MARK.to_owned();
                csv.line(&mut head, &HEADINGS);
                head
            }
            ExportFormat::Json => "{\"Events\":[".to_owned(),
        }
    }

    fn event(&mut self, out: &mut String, event: &Event) {
        let view = EventView::from(event);
        match self.format {
            ExportFormat::Csv(csv) => csv.line(out, &cells(&view)),
            ExportFormat::Json => {
                if !std::mem::take(&mut self.is_first) {
                    out.push(',');
                }
                // A view of texts and numbers can always be written.
                out.push_str(&serde_json::to_string(&view).unwrap_or_default());
            }
        }
    }

    fn tail(&self, out: &mut String) {
        match self.format {
            ExportFormat::Csv(_) => {}
            ExportFormat::Json => out.push_str("],\"Next\":null}"),
        }
    }
}

fn cells(view: &EventView) -> [String; 14] {
    let detail = view.detail.as_ref();
    let field = |name: &str| text(detail, name).to_owned();
    let said = if field("Text").is_empty() { field("Note") } else { field("Text") };
    [
        view.no.to_string(),
        view.time.to_string(),
        view.kind.clone(),
        view.subject.clone().unwrap_or_default(),
        view.key_no.map(|no| no.to_string()).unwrap_or_default(),
        view.key_id.map(|series| series.to_string()).unwrap_or_default(),
        view.reason.clone().unwrap_or_default(),
        field("UserName"),
        field("ComputerName"),
        field("AppName"),
        field("InfoBaseConnectionStr"),
        field("Actor"),
        said,
        detail.map(ToString::to_string).unwrap_or_default(),
    ]
}
