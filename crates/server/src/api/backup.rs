//! REST: backup and restore of the data folder.
//!
//! Moves bytes between the disk and the network, one backup and one restore at a time; what is in
//! an archive and whether it is good is [`crate::backup`]'s business.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::{Body, Buf, Bytes};
use hyper::header::{CONTENT_DISPOSITION, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use licence_core::causes::with_causes;
use serde::Serialize;
use tokio::sync::mpsc;

use crate::api::body::{AnswerBody, PARTS_MAX};
use crate::api::errors::ApiError;
use crate::api::{Answer, Call, json};
use crate::backup::archive::{self, ARCHIVE_BYTES_MAX, Source};
use crate::backup::members::Manifest;
use crate::backup::{BackupError, pending};
use crate::clock;
use crate::driver::AuditNote;

/// Bytes of one part of the answer.
const PART_BYTES: usize = 64 * 1024;

/// How long an archive may take to arrive: 2 GiB at 15 Mbit/s.
const UPLOAD_SECS_MAX: u64 = 20 * 60;

/// Whether a backup or a restore is under way: two would only fill the disk.
#[derive(Clone, Debug, Default)]
pub struct Turns {
    is_busy: Arc<AtomicBool>,
}

/// Holds the turn until it goes.
struct Turn(Turns);

impl Turns {
    fn take(&self) -> Result<Turn, ApiError> {
        if self.is_busy.swap(true, Ordering::AcqRel) {
            return Err(ApiError::unavailable(
                "Another backup or restore is under way; try again later.",
                "Выполняется другое резервное копирование или восстановление; повторите позже.",
            ));
        }
        Ok(Turn(self.clone()))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.is_busy.store(false, Ordering::Release);
    }
}

/// Passes what is written on as parts of an answer; fails when nobody reads any more.
struct Parts {
    sender: mpsc::Sender<io::Result<Bytes>>,
    buffer: Vec<u8>,
}

impl Write for Parts {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= PART_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let part = Bytes::from(std::mem::take(&mut self.buffer));
        self.sender.blocking_send(Ok(part)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// `GET /api/backup`.
pub(crate) async fn download(call: &Call<'_>) -> Result<Answer, ApiError> {
    let app = call.app;
    let turn = app.backups.take()?;
    let at = clock::utc();
    let source = Source {
        paths: app.paths.clone(),
        series_file: app.settings.get().series_file.clone(),
        computer_name: app.host.computer_name.clone(),
        at,
    };
    archive::check_source(&source).map_err(refused)?;
    let note = AuditNote { action: "backup", ..AuditNote::default() };
    app.handle.audit(note, &call.actor).await?;
    let (sender, parts) = mpsc::channel(PARTS_MAX);
    tokio::task::spawn_blocking(move || {
        let _turn = turn;
        let out = Parts { sender: sender.clone(), buffer: Vec::with_capacity(PART_BYTES) };
        if let Err(error) = archive::write(&source, out) {
            log::error!("backup: {}", with_causes(&error));
            // Ends the answer broken, so that nobody takes the torso for the whole; whoever has
            // gone does not hear it.
            drop(sender.blocking_send(Err(io::Error::other("the backup broke off"))));
        }
    });
    let mut answer = Response::new(AnswerBody::Parts(parts));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-tar"));
    let digits: String = at.to_string().chars().filter(char::is_ascii_digit).take(14).collect();
    let name = format!("attachment; filename=\"licenceserver-{digits}.tar\"");
    if let Ok(value) = HeaderValue::from_str(&name) {
        headers.insert(CONTENT_DISPOSITION, value);
    }
    Ok(answer)
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Restoring {
    restarting: bool,
    backup: Summary,
}

/// What a backup says of itself.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Summary {
    version: String,
    made: licence_core::time::Utc,
    computer_name: String,
    members: usize,
}

/// `POST /api/restore`: takes an archive, checks it, and starts the server again with it.
pub(crate) async fn restore<B>(call: &Call<'_>, body: B) -> Result<Answer, ApiError>
where
    B: Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let app = call.app;
    let turn = app.backups.take().map_err(ApiError::closing)?;
    let bound = Duration::from_secs(UPLOAD_SECS_MAX);
    let received = tokio::time::timeout(bound, receive(call, body)).await;
    let received = received.unwrap_or_else(|_| Err(ApiError::timeout()));
    let paths = app.paths.clone();
    let staging = tokio::task::spawn_blocking(move || {
        let file = pending::upload(&paths);
        let prepared = received.and_then(|()| pending::prepare(&paths, &file).map_err(refused));
        // Checked and unpacked, or refused: it is of no more use.
        drop(std::fs::remove_file(&file));
        prepared
    });
    let prepared = staging.await.map_err(|error| ApiError::broken(&error))?;
    let Manifest { version, made, computer_name, members, .. } = prepared?;
    let note = AuditNote {
        action: "restore",
        subject: computer_name.clone(),
        note: format!("backup made {made}"),
        ..AuditNote::default()
    };
    let noted = app.handle.audit(note, &call.actor).await;
    let paths = app.paths.clone();
    // The state last: a server that starts again before this goes on with its own files.
    let arming = tokio::task::spawn_blocking(move || {
        let Err(error) = noted else { return pending::arm(&paths).map_err(refused) };
        if let Err(left) = pending::discard(&paths) {
            log::warn!("a restore that was given up is left: {}", with_causes(&left));
        }
        Err(error.into())
    });
    arming.await.map_err(|error| ApiError::broken(&error))??;
    drop(turn);
    app.control.restart();
    let backup = Summary { version, made, computer_name, members: members.len() };
    json(StatusCode::ACCEPTED, &Restoring { restarting: true, backup })
}

async fn receive<B>(call: &Call<'_>, body: B) -> Result<(), ApiError>
where
    B: Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let too_large =
        || ApiError::too_large(usize::try_from(ARCHIVE_BYTES_MAX).unwrap_or(usize::MAX));
    let announced = body.size_hint().lower();
    if announced > ARCHIVE_BYTES_MAX {
        return Err(too_large());
    }
    let path = pending::upload(&call.app.paths);
    archive::check_room(&call.app.paths.database(), announced).map_err(refused)?;
    let (sender, mut parts) = mpsc::channel::<Bytes>(PARTS_MAX);
    let writing = tokio::task::spawn_blocking(move || -> io::Result<()> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        // What an upload that broke off has left.
        drop(std::fs::remove_file(&path));
        let mut file = archive::create_private(&path)?;
        while let Some(part) = parts.blocking_recv() {
            file.write_all(&part)?;
        }
        file.sync_all()
    });
    let mut body = std::pin::pin!(body);
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return Err(ApiError::bad_request(
                "The request body broke off.",
                "Тело запроса получено не полностью.",
            )
            .closing());
        };
        let Ok(mut part) = frame.into_data() else { continue };
        bytes += part.remaining() as u64;
        if bytes > ARCHIVE_BYTES_MAX {
            return Err(too_large());
        }
        let part = part.copy_to_bytes(part.remaining());
        // A closed channel is a write that failed, which tells more than this.
        if sender.send(part).await.is_err() {
            break;
        }
    }
    drop(sender);
    match writing.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(ApiError::broken(&error).closing()),
        Err(error) => Err(ApiError::broken(&error).closing()),
    }
}

fn refused(error: BackupError) -> ApiError {
    match &error {
        BackupError::Archive { member, reason } => ApiError::new(
            StatusCode::BAD_REQUEST,
            "ERestore",
            format!("The archive cannot be restored: {member}: {reason}."),
            format!("Архив нельзя восстановить: {member}: {reason}."),
        ),
        BackupError::SeriesFile(name) => ApiError::new(
            StatusCode::BAD_REQUEST,
            "EBackup",
            format!(
                "[Common] SeriesFile={name} is outside the settings folder; a backup would not \
                 hold it."
            ),
            format!(
                "[Common] SeriesFile={name} вне папки настроек; резервная копия его не содержала \
                 бы."
            ),
        ),
        BackupError::Room { needed_mb, free_mb } => ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "ENoRoom",
            format!("{needed_mb} MB are needed on the disk, {free_mb} MB are free."),
            format!("На диске нужно {needed_mb} МБ, свободно {free_mb} МБ."),
        ),
        BackupError::Database(_) | BackupError::InUse | BackupError::Io { .. } => {
            ApiError::broken(&error)
        }
    }
}
