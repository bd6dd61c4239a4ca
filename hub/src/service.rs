//! The daemon.

use crate::config::HubConfig;
use crate::datadir::{DataDirError, Running};
use crate::http::{Listening, Peer, router};
use crate::hub::{Hub, OpenHubError};
use crate::limits::{SHUTDOWN_TIMEOUT, TILLS_NAMED_MAX};
use crate::store::StoreError;
use crate::tls::{Certificate, Pinned, TlsError, TlsListener};
use axum::serve::Listener;
use counterfoil_protocol::hub_url::{self, HubUrl, ParseHubUrlError};
use counterfoil_replica::env::Env;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::sync::watch;

/// Why the hub ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It could not be opened.
    #[error(transparent)]
    Open(#[from] OpenHubError),
    /// Its address is unknown.
    #[error("cannot tell where the hub listens")]
    Address(#[source] io::Error),
    /// It could not say where it listens.
    #[error("cannot announce the hub")]
    Announce(#[from] DataDirError),
    /// Its databases.
    #[error("the hub's databases failed")]
    Store(#[from] StoreError),
    /// Its certificate.
    #[error("the hub has no certificate to show")]
    Tls(#[from] TlsError),
    /// What tills have pinned cannot be read.
    #[error(
        "the address that join codes had is damaged in hub.db: restore hub.db from a backup, or start once with \
         --accept-new-authority"
    )]
    Pinned(#[source] ParseHubUrlError),
    /// The network.
    #[error("the hub cannot serve")]
    Serve(#[source] io::Error),
}

/// Runs the hub on a listener until `shutdown` is done; then open requests are answered and the
/// databases are closed. The simulation passes a listener of its own network.
///
/// # Errors
/// [`RunError`].
pub async fn run<L>(
    config: HubConfig,
    listener: L,
    shutdown: impl Future<Output = ()> + Send + 'static,
    env: Env,
) -> Result<(), RunError>
where
    L: Listener<Addr = SocketAddr>,
{
    let hub = Hub::open(config, env).await?;
    serve(hub, listener, shutdown).await
}

/// Runs an open hub, see [`run`].
///
/// # Errors
/// [`RunError`].
pub async fn serve<L>(
    hub: Arc<Hub>,
    listener: L,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), RunError>
where
    L: Listener<Addr = SocketAddr>,
{
    let address = listener.local_addr().map_err(RunError::Address)?;
    let names = names(&hub, address);
    let pinned = pinned(&hub).await?;
    let certificate = Certificate::load(&hub.config.tls, &hub.dir, &hub.env, names, pinned)?;
    let url = join_url(
        &hub,
        &url_of(address, certificate.is_some()),
        certificate.as_deref(),
    );
    check_authority(&hub, pinned, &url).await?;
    match &certificate {
        None => serve_on(hub, listener, certificate, shutdown).await,
        Some(secured) => {
            let listener = TlsListener::new(listener, secured.server()?);
            serve_on(hub, listener, certificate, shutdown).await
        }
    }
}

/// Names that a certificate of the hub's own is for, besides those of this machine.
fn names(hub: &Hub, address: SocketAddr) -> Vec<String> {
    let public = hub.config.public_url.as_ref().map(HubUrl::host);
    let listened = (!address.ip().is_unspecified()).then(|| address.ip().to_string());
    public
        .map(str::to_owned)
        .into_iter()
        .chain(listened)
        .collect()
}

async fn serve_on<L>(
    hub: Arc<Hub>,
    listener: L,
    certificate: Option<Arc<Certificate>>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), RunError>
where
    L: Listener<Addr = SocketAddr>,
{
    let address = listener.local_addr().map_err(RunError::Address)?;
    let url = url_of(address, certificate.is_some());
    announce(&hub, &url, certificate.as_deref()).await?;
    tracing::info!(%url, "listening");
    let (stop, stopping) = watch::channel(false);
    let stopped = {
        let mut stopping = stopping.clone();
        async move {
            // An error means that the sender is gone, which is the end as well.
            stopping.wait_for(|stop| *stop).await.ok();
        }
    };
    let app = router(Arc::clone(&hub)).into_make_service_with_connect_info::<Peer>();
    let server = axum::serve(Listening(listener), app).with_graceful_shutdown(stopped);
    let mut serving = std::pin::pin!(server.into_future());
    let mut working = std::pin::pin!(hub.work_forever());
    let mut renewing = std::pin::pin!(renew_forever(&hub, &url, certificate.as_deref()));
    let mut shutdown = std::pin::pin!(shutdown);
    // In order, so that a simulation repeats.
    tokio::select! {
        biased;
        served = &mut serving => return served.map_err(RunError::Serve),
        () = &mut working => {}
        () = &mut renewing => {}
        () = &mut shutdown => {}
    }
    tracing::info!("stopping");
    // Who listens would hold the hub open for ever.
    hub.news.close();
    stop.send_replace(true);
    // Pushes that are under way are answered; who is cut off sends again.
    let finish = tokio::time::timeout(SHUTDOWN_TIMEOUT, &mut serving);
    tokio::select! {
        biased;
        finished = finish => {
            if let Ok(served) = finished {
                served.map_err(RunError::Serve)?;
            }
        }
        () = &mut working => {}
    }
    hub.write_runs().await?;
    hub.dir.withdraw(&hub.env)?;
    Ok(())
}

/// What tills have pinned: what join codes had when the hub ran last.
async fn pinned(hub: &Hub) -> Result<Pinned, RunError> {
    let remembered = hub.writer.call(|store| store.remembered_url()).await?;
    let may_change = hub.config.accept_new_authority;
    let pin = match hub_url::pin_of(&remembered.unwrap_or_default()) {
        Ok(pin) => pin,
        Err(error) if may_change => {
            tracing::warn!(%error, "the address of the last run is damaged");
            None
        }
        // Nobody can tell any more what tills have pinned.
        Err(error) => return Err(RunError::Pinned(error)),
    };
    Ok(Pinned { pin, may_change })
}

/// The address that join codes carry.
fn join_url(hub: &Hub, url: &HubUrl, certificate: Option<&Certificate>) -> HubUrl {
    let public = hub.config.public_url.as_ref().unwrap_or(url).clone();
    match certificate.and_then(Certificate::pin) {
        Some(pin) => public.with_pin(pin),
        None => public,
    }
}

/// Tills have pinned another authority: the hub starts only if the operator says so, and tells what each till needs.
async fn check_authority(hub: &Hub, pinned: Pinned, url: &HubUrl) -> Result<(), RunError> {
    let (found, may_change) = (url.pin(), pinned.may_change);
    let Some(pinned) = pinned.pin.filter(|pinned| found != Some(*pinned)) else {
        return Ok(());
    };
    if !may_change {
        return Err(TlsError::OtherAuthority { pinned, found }.into());
    }
    let tills = hub
        .reports
        .call(|reader| reader.trading_tills(TILLS_NAMED_MAX));
    let (tills, count) = tills.await?;
    let remedy = match found {
        Some(_) => format!("each needs `counterfoil-node hub {url}`, or a new join code"),
        None => "each needs a new join code".to_owned(),
    };
    let mut names = tills.join(", ");
    if count > tills.len() {
        names.push_str(", and more, see `node list`");
    }
    let detail = format!(
        "the authority is another one by the operator's will; {count} tills may have pinned the former, \
         sha256-{}, and are shut out: {remedy}; they sell on meanwhile. They are: {names}",
        pinned.to_hex()
    );
    // Before the address is remembered: whoever is killed in between says it again.
    hub.written_alert("authority_changed", None, &detail)
        .await?;
    Ok(())
}

/// Says where the hub listens: to commands on this machine, and for join codes.
async fn announce(
    hub: &Hub,
    url: &HubUrl,
    certificate: Option<&Certificate>,
) -> Result<(), RunError> {
    let remembered = join_url(hub, url, certificate);
    // Set once: a hub serves one listener.
    hub.url.set(url.to_string()).ok();
    hub.writer
        .call(move |store| store.remember_url(&remembered.to_string()))
        .await?;
    hub.open_channels().await?;
    let near = match certificate.and_then(Certificate::own_pin) {
        Some(pin) => url.clone().with_pin(pin),
        None => url.clone(),
    };
    let url = near.to_string();
    hub.dir.announce(&hub.env, &Running { url })?;
    Ok(())
}

/// Renews the certificate in time. What fails is told once and tried again; the certificate that there is goes on.
async fn renew_forever(hub: &Hub, url: &HubUrl, certificate: Option<&Certificate>) {
    let Some(certificate) = certificate else {
        return std::future::pending().await;
    };
    let mut is_announced = true;
    loop {
        tokio::time::sleep(hub.config.tls_check).await;
        let refreshed = certificate.refresh(&hub.env);
        if matches!(refreshed, Ok(true)) {
            tracing::info!("the certificate was renewed");
            is_announced = false;
        }
        let mut renewed = refreshed.map(|_| ()).map_err(RunError::from);
        // Commands on this machine expect the one that is shown: they are told until it succeeds.
        if !is_announced {
            let announced = announce(hub, url, Some(certificate)).await;
            is_announced = announced.is_ok();
            renewed = renewed.and(announced);
        }
        let failure = renewed.err().map(|error| crate::cli::chain(&error));
        if certificate.is_news(failure.clone())
            && let Some(failure) = failure
        {
            let detail = format!("the certificate cannot be renewed: {failure}");
            hub.alert("certificate", None, &detail).await;
        }
    }
}

/// URL of a listener; one that listens everywhere is reached on this machine by loopback.
pub(crate) fn url_of(mut address: SocketAddr, is_secured: bool) -> HubUrl {
    if address.ip().is_unspecified() {
        address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    HubUrl::of(address, is_secured)
}

/// A TCP listener as the daemon uses it: small answers go out at once.
pub struct Tcp(pub tokio::net::TcpListener);

impl Listener for Tcp {
    type Io = tokio::net::TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (stream, peer) = Listener::accept(&mut self.0).await;
        // Slower without, not wrong.
        stream.set_nodelay(true).ok();
        (stream, peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}
