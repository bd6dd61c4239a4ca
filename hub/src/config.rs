//! What the operator chooses.

use crate::history::Retention;
use crate::limits::{HEARTBEAT, TLS_CHECK_SECONDS};
use crate::tls::TlsMode;
use counterfoil_migrate::Kind;
use counterfoil_protocol::gate::Schemas;
use counterfoil_protocol::hub_url::HubUrl;
use std::path::PathBuf;
use std::time::Duration;

/// Who may bind a shop to this hub without a join code.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub enum Registration {
    /// Everybody who reaches the hub.
    Open,
    /// Programs on the hub's own machine.
    #[default]
    Loopback,
    /// Nobody.
    Closed,
}

/// Settings of a hub.
#[derive(Clone, Debug)]
pub struct HubConfig {
    /// The data folder; made when it is missing.
    pub data: PathBuf,
    /// URL under which tills reach the hub; what it listens on when absent.
    pub public_url: Option<HubUrl>,
    /// How the hub is reached.
    pub tls: TlsMode,
    /// Start although tills have pinned another authority.
    pub accept_new_authority: bool,
    /// Time between two looks whether the certificate is due, or its files have changed.
    pub tls_check: Duration,
    /// How long a till's token holds; it is changed at half of it. `None`: for ever.
    pub token_life: Option<Duration>,
    /// Who may register without a join code.
    pub registration: Registration,
    /// Size at which a WAL is folded into its database, in bytes.
    pub wal_limit_bytes: u64,
    /// Time between two sweeps, which catch what no push announced.
    pub sweep: Duration,
    /// Longest silence on a stream of events, so that who listens knows whether it still does.
    pub heartbeat: Duration,
    /// How much of the past is kept.
    pub history: Retention,
    /// How far a record may be dated ahead of the hub's clock; beyond it the record goes to quarantine.
    pub ahead: Duration,
    /// How wrong a till's clock may be, either way; beyond it there is an alert.
    pub clock_limit: Duration,
    /// How long a till may keep silent; beyond it there is an alert. Zero: for ever.
    pub silent: Duration,
    /// Room on the disk below which the hub is not ready and there is an alert, in bytes.
    pub disk_bytes_min: u64,
    /// How long what arrived may wait to be consolidated; beyond it there is an alert, and a hub that consolidates
    /// nothing at all is not ready.
    pub stuck: Duration,
    /// Time between two looks for what asks for a person.
    pub watch: Duration,
    /// Where alerts are posted.
    pub alert_webhook: Option<String>,
    /// Program that is started for each alert.
    pub alert_command: Option<PathBuf>,
    /// The schemas that this program knows: it migrates up to them, and tells a node below to update.
    pub schemas: Schemas,
}

impl HubConfig {
    /// Defaults for a folder.
    #[must_use]
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            public_url: None,
            tls: TlsMode::Off,
            accept_new_authority: false,
            tls_check: Duration::from_secs(u64::from(TLS_CHECK_SECONDS)),
            token_life: token_life(TOKEN_DAYS_DEFAULT),
            registration: Registration::default(),
            wal_limit_bytes: 48 * 1024 * 1024,
            sweep: Duration::from_secs(60),
            heartbeat: HEARTBEAT,
            history: Retention {
                days: HISTORY_DAYS_DEFAULT,
                bytes_max: HISTORY_GIB_DEFAULT * 1024 * 1024 * 1024,
            },
            ahead: Duration::from_secs(u64::from(AHEAD_DAYS_DEFAULT) * 86_400),
            clock_limit: Duration::from_secs(u64::from(CLOCK_SECONDS_DEFAULT)),
            silent: Duration::from_secs(u64::from(SILENT_MINUTES_DEFAULT) * 60),
            disk_bytes_min: u64::from(DISK_MIB_DEFAULT) * 1024 * 1024,
            stuck: Duration::from_secs(u64::from(STUCK_SECONDS_DEFAULT)),
            watch: Duration::from_secs(u64::from(WATCH_SECONDS_DEFAULT)),
            alert_webhook: None,
            alert_command: None,
            schemas: Schemas {
                book: Kind::Book.schema_version(),
                catalog: Kind::Catalog.schema_version(),
            },
        }
    }
}

/// How long a till may keep silent, in minutes: it asks every five by default, so this is no accident of the line.
pub(crate) const SILENT_MINUTES_DEFAULT: u32 = 30;

/// Room that the hub's disk must have, in MiB: some days of a chain's sales.
pub(crate) const DISK_MIB_DEFAULT: u32 = 512;

/// How long what arrived may wait to be consolidated, in seconds.
pub(crate) const STUCK_SECONDS_DEFAULT: u32 = 300;

/// Time between two looks for what asks for a person, in seconds.
pub(crate) const WATCH_SECONDS_DEFAULT: u32 = 15;

/// How wrong a till's clock may be, in seconds.
pub(crate) const CLOCK_SECONDS_DEFAULT: u32 = 60;

/// How far back every database can be restored, in days.
pub(crate) const HISTORY_DAYS_DEFAULT: u32 = 30;

/// How far a record may be dated ahead of the hub's clock, in days: a year, as catalog edits may be.
pub(crate) const AHEAD_DAYS_DEFAULT: u32 = 366;

/// All that is kept for it, in GiB: a year of frames of some hundred tills.
pub(crate) const HISTORY_GIB_DEFAULT: u64 = 20;

/// Where the hub listens unless told otherwise: on its own machine only.
pub(crate) const LISTEN_DEFAULT: &str = "127.0.0.1:8700";

/// A machine's token handed in by the environment: the token itself (`COUNTERFOIL_HUB_TOKEN`), or a file that
/// holds it (`COUNTERFOIL_HUB_TOKEN_FILE`). Never an argument, which every user of the machine could read.
///
/// # Errors
/// When the file cannot be read.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that reads the environment"
)]
pub(crate) fn token_from_environment() -> std::io::Result<Option<String>> {
    if let Ok(token) = std::env::var("COUNTERFOIL_HUB_TOKEN") {
        return Ok(Some(token.trim().to_owned()));
    }
    match std::env::var("COUNTERFOIL_HUB_TOKEN_FILE") {
        Ok(path) => Ok(Some(std::fs::read_to_string(path)?.trim().to_owned())),
        Err(_) => Ok(None),
    }
}

/// Where sessions are kept unless the operator says otherwise.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that reads the environment"
)]
pub(crate) fn session_file() -> Option<PathBuf> {
    let configured = std::env::var("XDG_CONFIG_HOME").map(PathBuf::from);
    let folder = match configured {
        Ok(folder) => folder,
        Err(_) => std::env::home_dir()?.join(".config"),
    };
    Some(folder.join("counterfoil").join("session.json"))
}

/// Days that a till's token holds, unless the operator says otherwise: longer than a season in which a shop is closed.
pub(crate) const TOKEN_DAYS_DEFAULT: u32 = 180;

/// How long a token holds that holds so many days; 0 is for ever.
pub(crate) fn token_life(days: u32) -> Option<Duration> {
    (days > 0).then(|| Duration::from_secs(u64::from(days) * 86_400))
}
