//! Tells others of alerts: a webhook, a program. At least once, from a durable outbox; who is slow or away keeps
//! nobody waiting but the messages for the same place.

use super::health::words;
use crate::hub::Hub;
use crate::limits::{
    ALERT_COMMAND_TIMEOUT, DELIVERY_PAUSE_MS_MAX, DELIVERY_PAUSE_MS_MIN, OUTBOX_PAUSE,
    WEBHOOK_TIMEOUT,
};
use crate::store::{Channel, Delivery, Reader, Store, StoreError};
use bytes::Bytes;
use counterfoil_protocol::wire::monitor::AlertMessage;
use counterfoil_replica::env::HttpRequest;
use http::{HeaderMap, HeaderValue, Method, header};
use std::path::Path;
use std::process::Stdio;
use tokio::io::AsyncWriteExt as _;

/// Header of a webhook's request with the message's id, so that a repetition is known without reading the body.
const MESSAGE_HEADER: &str = "x-counterfoil-message";

impl Hub {
    /// Delivers what is due, each channel by itself. Ends never.
    pub(crate) async fn deliver_forever(&self) {
        tokio::join!(
            self.deliver_to(Channel::Webhook),
            self.deliver_to(Channel::Command)
        );
    }

    /// Remembers where alerts go, so that those of a moment without a hub go there too.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) async fn open_channels(&self) -> Result<(), StoreError> {
        let mut channels = Vec::new();
        channels.extend(self.config.alert_webhook.as_ref().map(|_| Channel::Webhook));
        channels.extend(self.config.alert_command.as_ref().map(|_| Channel::Command));
        let set = move |store: &mut Store| store.set_channels(&channels);
        self.writer.call(set).await
    }

    async fn deliver_to(&self, channel: Channel) {
        let is_used = match channel {
            Channel::Webhook => self.config.alert_webhook.is_some(),
            Channel::Command => self.config.alert_command.is_some(),
        };
        if !is_used {
            std::future::pending::<()>().await;
        }
        loop {
            match self.deliver_one(channel).await {
                Ok(true) => {}
                Ok(false) => tokio::time::sleep(OUTBOX_PAUSE).await,
                Err(error) => {
                    tracing::error!(error = words(&error), "the outbox of alerts cannot be used");
                    tokio::time::sleep(WEBHOOK_TIMEOUT).await;
                }
            }
        }
    }

    /// Delivers the message that is due; whether there was one.
    async fn deliver_one(&self, channel: Channel) -> Result<bool, StoreError> {
        let (hub_id, now_ms) = (self.id, self.now_ms());
        let next = move |reader: &mut Reader| reader.next_delivery(channel, hub_id, now_ms);
        let Some(delivery) = self.reports.call(next).await? else {
            return Ok(false);
        };
        let Delivery {
            id,
            message,
            attempts,
        } = delivery;
        let outcome = match channel {
            Channel::Webhook => self.post(&message).await,
            Channel::Command => self.start(&message).await,
        };
        self.monitor
            .metrics
            .count_delivery(channel, outcome.is_ok());
        match outcome {
            Ok(()) => {
                tracing::debug!(
                    message = message.id,
                    channel = channel.name(),
                    "alert delivered"
                );
                self.writer.call(move |store| store.delivered(id)).await?;
            }
            Err(error) => {
                tracing::warn!(
                    message = message.id,
                    channel = channel.name(),
                    attempts,
                    error,
                    "alert not delivered"
                );
                let due_ms = self.now_ms().saturating_add(pause_ms(attempts));
                let put_off = move |store: &mut Store| store.put_off(id, due_ms, &error);
                self.writer.call(put_off).await?;
            }
        }
        Ok(true)
    }

    /// Posts a message to the webhook; any answer but a 2xx is a failure.
    async fn post(&self, message: &AlertMessage) -> Result<(), String> {
        let Some(url) = self.config.alert_webhook.clone() else {
            return Err("no webhook is set".to_owned());
        };
        let mut headers = HeaderMap::new();
        let json = HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, json);
        let id = HeaderValue::from_str(&message.id).map_err(|error| error.to_string())?;
        headers.insert(MESSAGE_HEADER, id);
        let request = HttpRequest {
            method: Method::POST,
            url,
            headers,
            body: Bytes::from(body(message)?),
            timeout: WEBHOOK_TIMEOUT,
            response_bytes_max: crate::limits::JSON_BYTES_MAX,
        };
        match self.env.http().send(request).await {
            Ok(answer) if answer.status.is_success() => Ok(()),
            Ok(answer) => Err(format!("the webhook answered {}", answer.status)),
            Err(error) => Err(words(&error)),
        }
    }

    /// Starts the alert command with the message on its standard input; it must end with 0 in time.
    async fn start(&self, message: &AlertMessage) -> Result<(), String> {
        let Some(program) = self.config.alert_command.as_deref() else {
            return Err("no alert command is set".to_owned());
        };
        let ended = tokio::time::timeout(ALERT_COMMAND_TIMEOUT, run(program, body(message)?));
        // A process that is not waited for any more is killed when it is dropped.
        ended.await.unwrap_or_else(|_| {
            let seconds = ALERT_COMMAND_TIMEOUT.as_secs();
            Err(format!("the alert command did not end within {seconds} s"))
        })
    }
}

async fn run(program: &Path, body: Vec<u8>) -> Result<(), String> {
    let mut child = tokio::process::Command::new(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("cannot start {}: {error}", program.display()))?;
    if let Some(mut input) = child.stdin.take() {
        // A program that does not read its input is judged by how it ends.
        input.write_all(&body).await.ok();
    }
    match child.wait().await {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("the alert command ended with {status}")),
        Err(error) => Err(error.to_string()),
    }
}

fn body(message: &AlertMessage) -> Result<Vec<u8>, String> {
    serde_json::to_vec(message).map_err(|error| error.to_string())
}

/// How long a message waits after so many failures.
fn pause_ms(attempts: i64) -> i64 {
    let doublings = u32::try_from(attempts.clamp(0, 20)).unwrap_or(0);
    let pause = DELIVERY_PAUSE_MS_MIN.saturating_mul(1_i64 << doublings);
    pause.min(DELIVERY_PAUSE_MS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_ten_minutes() {
        let pauses: Vec<_> = [0, 1, 2, 9, 10, 63, i64::MAX].map(pause_ms).into();
        assert_eq!(
            pauses,
            [1_000, 2_000, 4_000, 512_000, 600_000, 600_000, 600_000]
        );
    }
}
