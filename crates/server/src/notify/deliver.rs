//! Sends letters: a webhook over HTTP, a mail over SMTP; tries again a few times, then gives up.
//!
//! Blocks, for a bounded time each; whoever calls does so on a thread of its own. No secret and no
//! text of a receiver is logged.

use std::time::Duration;

use lettre::transport::smtp::authentication::Credentials;
use lettre::{SmtpTransport, Transport};
use licence_core::language::Language;

use super::message::Letter;
use crate::api::VERSION;
use crate::clock;
use crate::config::{NotifySettings, SmtpSecurity};

/// How long one try may take: a receiver that needs longer is down.
const TRY_SECS_MAX: u64 = 20;

/// Where a letter goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Channel {
    /// By mail.
    Mail,
    /// By webhook.
    Webhook,
}

/// The channels that the settings name.
pub fn channels(settings: &NotifySettings) -> Vec<Channel> {
    let mut channels = Vec::new();
    if settings.webhook.is_some() {
        channels.push(Channel::Webhook);
    }
    if settings.smtp_server.is_some() && !settings.mail_to.is_empty() {
        channels.push(Channel::Mail);
    }
    channels
}

/// Sends a letter once.
///
/// # Errors
///
/// A text for the log.
pub fn send(
    channel: Channel,
    letter: &Letter,
    settings: &NotifySettings,
    language: Language,
) -> Result<(), String> {
    match channel {
        Channel::Mail => mail(letter, settings, language),
        Channel::Webhook => webhook(letter, settings),
    }
}

fn webhook(letter: &Letter, settings: &NotifySettings) -> Result<(), String> {
    let address = settings.webhook.as_deref().unwrap_or_default();
    let body = letter.json();
    let seconds = clock::utc().unix_seconds();
    let agent = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(TRY_SECS_MAX)))
        .http_status_as_error(false)
        .max_redirects(0)
        .max_idle_connections(0)
        // What the environment of the service names is for the centre, and only where it is set.
        .proxy(None)
        .user_agent(format!("licenceserver/{VERSION}"))
        .build()
        .new_agent();
    let mut request = agent
        .post(address)
        .header("Content-Type", "application/json; charset=utf-8")
        .header("webhook-id", &letter.id)
        .header("webhook-timestamp", seconds.to_string());
    if let Some(secret) = &settings.webhook_secret {
        request = request.header("webhook-signature", letter.signature(secret, seconds, &body));
    }
    let answer = request.send(body).map_err(|error| without_address(&error, address))?;
    let status = answer.status();
    if status.is_success() { Ok(()) } else { Err(format!("the webhook answered {status}")) }
}

/// The error without the address of the webhook: what follows its host is often a secret.
fn without_address(error: &ureq::Error, address: &str) -> String {
    let mut text = error.to_string();
    let (_, rest) = address.split_once("://").unwrap_or(("", address));
    let path = rest.find(['/', '?', '#']).map_or("", |at| &rest[at..]);
    for secret in [address, rest, path] {
        // A single slash says nothing, and stands in many a text.
        if secret.len() > 1 {
            text = text.replace(secret, "…");
        }
    }
    text
}

fn mail(letter: &Letter, settings: &NotifySettings, language: Language) -> Result<(), String> {
    let mail = letter.mail(settings, language)?;
    let server = settings.smtp_server.as_deref().unwrap_or_default();
    let (host, port) = match server.rsplit_once(':') {
        Some((host, port)) => {
            (host, Some(port.parse().map_err(|_| format!("{server:?}: the port is no number"))?))
        }
        None => (server, None),
    };
    let shown = |error: lettre::transport::smtp::Error| error.to_string();
    let mut builder = match settings.smtp_security {
        SmtpSecurity::None => SmtpTransport::builder_dangerous(host),
        SmtpSecurity::StartTls => SmtpTransport::starttls_relay(host).map_err(shown)?,
        SmtpSecurity::Tls => SmtpTransport::relay(host).map_err(shown)?,
    };
    if let Some(port) = port {
        builder = builder.port(port);
    }
    if let (Some(user), Some(password)) = (&settings.smtp_user, &settings.smtp_password) {
        builder = builder.credentials(Credentials::new(user.clone(), password.clone()));
    }
    let transport = builder.timeout(Some(Duration::from_secs(TRY_SECS_MAX))).build();
    transport.send(&mail).map(|_| ()).map_err(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_of_a_webhook_does_not_show_its_address() {
        let address = "https://hooks.example/T0/secret?key=hidden";
        for text in [address, "hooks.example/T0/secret?key=hidden", "/T0/secret?key=hidden"] {
            let error = ureq::Error::BadUri(format!("{text} is wrong"));
            let shown = without_address(&error, address);
            assert!(!shown.contains("secret") && !shown.contains("hidden"), "{shown}");
            assert!(shown.contains("is wrong"), "{shown}");
        }
    }
}
