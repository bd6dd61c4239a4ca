//! `counterfoil-hub run`.

use super::client::own;
use super::print::write_out;
use super::{Failure, MonitorArgs, RunArgs};
use crate::config::{HubConfig, token_life};
use crate::datadir::DataDir;
use crate::history::Retention;
use crate::hub::Hub;
use crate::service::{Tcp, serve, url_of};
use crate::tls::TlsMode;
use counterfoil_replica::env::Env;
use std::path::PathBuf;
use std::time::Duration;

pub(super) async fn run(data: PathBuf, args: RunArgs, env: Env) -> Result<(), Failure> {
    let MonitorArgs {
        silent_minutes,
        disk_limit_mib,
        stuck_seconds,
        watch_seconds,
        alert_webhook,
        alert_command,
    } = args.monitor;
    let alert_webhook = alert_webhook.map(checked_webhook).transpose()?;
    let tls = args.way.mode(args.listen)?;
    let ownership = own(&DataDir::new(&data), &env).await?;
    let config = HubConfig {
        public_url: args.public_url,
        tls,
        accept_new_authority: args.way.accept_new_authority,
        tls_check: Duration::from_secs(u64::from(args.way.tls_check_seconds)),
        token_life: token_life(args.token_days),
        registration: args.registration,
        wal_limit_bytes: u64::from(args.wal_limit_mib) * 1024 * 1024,
        sweep: Duration::from_secs(u64::from(args.sweep_seconds)),
        heartbeat: Duration::from_secs(u64::from(args.heartbeat_seconds)),
        clock_limit: Duration::from_secs(u64::from(args.clock_limit_seconds)),
        history: Retention {
            days: args.history_days,
            bytes_max: args.history_limit_gib.saturating_mul(1024 * 1024 * 1024),
        },
        ahead: Duration::from_secs(u64::from(args.ahead_days) * 86_400),
        silent: Duration::from_secs(u64::from(silent_minutes) * 60),
        disk_bytes_min: u64::from(disk_limit_mib) * 1024 * 1024,
        stuck: Duration::from_secs(u64::from(stuck_seconds)),
        watch: Duration::from_secs(u64::from(watch_seconds)),
        alert_webhook,
        alert_command,
        ..HubConfig::new(data)
    };
    let hub = Hub::open_owned(config, env, ownership).await?;
    let listener = tokio::net::TcpListener::bind(args.listen)
        .await
        .map_err(|error| {
            let failure = Failure::from_chain(&error);
            Failure {
                text: format!("cannot listen on {}: {}", args.listen, failure.text),
                ..failure
            }
            .hint("choose another --listen; port 0 takes a free one")
        })?;
    let address = listener
        .local_addr()
        .map_err(|error| Failure::from_chain(&error))?;
    let stop = stop_signal()?;
    let secured = hub.config.tls != TlsMode::Off;
    write_out(format!("listening on {}\n", url_of(address, secured)).as_bytes())?;
    Ok(serve(hub, Tcp(listener), stop).await?)
}

/// The address of a webhook, if this program can use it.
fn checked_webhook(url: String) -> Result<String, Failure> {
    let parsed: Result<http::Uri, _> = url.parse();
    match parsed {
        Ok(uri) if matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some() => {
            Ok(url)
        }
        _ => Err(Failure::usage(format!(
            "`{url}` is no address that a webhook can have: it begins with http:// or https://; for anything else \
             there is --alert-command"
        ))),
    }
}

/// Done when the process is told to end.
#[cfg(unix)]
fn stop_signal() -> Result<impl Future<Output = ()> + Send + 'static, Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let failed = |error: std::io::Error| Failure::from_chain(&error);
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Done when the process is told to end.
#[cfg(not(unix))]
fn stop_signal() -> Result<impl Future<Output = ()> + Send + 'static, Failure> {
    Ok(async {
        // Without a handler the process simply ends, which is safe as well.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    })
}
