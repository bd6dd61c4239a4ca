//! Making, activating, steering and watching a till.

use super::stock::reconciliation_text;
use super::{ask, ask_long, get};
use crate::cli::output::{self, money, table, time};
use crate::cli::run::check_id;
use crate::cli::{Common, Failure};
use crate::config::Config;
use crate::local_client::{LocalClient, lock};
use crate::node::{Node, NodeOptions};
use clap::Args;
use counterfoil_domain::NodeId;
use counterfoil_domain::lineage::Former;
use counterfoil_protocol::wire::fence::{FenceRequest, Fenced};
use counterfoil_protocol::wire::hub::ActivateAnswer;
use counterfoil_protocol::wire::mesh::{FoundBy, MeshStatus};
use counterfoil_protocol::wire::node::{
    ActivateCommand, HubMoved, LogRow, NodeStatus, ReceiptRow, SyncReport,
};
use counterfoil_protocol::wire::queue::QueueRow;
use counterfoil_replica::env::Env;
use http::Method;

#[derive(Args)]
pub(crate) struct InitArgs {
    #[command(flatten)]
    common: Common,
    /// Id of the node; without it one is drawn. No two nodes of a chain may have the same.
    #[arg(long, value_name = "UUID", env = "COUNTERFOIL_NODE_ID")]
    node_id: Option<NodeId>,
}

#[derive(Args)]
pub(crate) struct ActivateArgs {
    #[command(flatten)]
    common: Common,
    /// Join code from `counterfoil-hub shop add` or `shop join`.
    #[arg(long, value_name = "CODE")]
    join: Option<String>,
    /// Base URL of the hub; overrides the one in the join code.
    #[arg(long, value_name = "URL", env = "COUNTERFOIL_NODE_HUB_URL")]
    hub: Option<String>,
    /// Name of the shop to register.
    #[arg(long)]
    name: Option<String>,
    /// Phone of the shop to register.
    #[arg(long)]
    phone: Option<String>,
    /// E-mail of the shop to register.
    #[arg(long)]
    email: Option<String>,
}

#[derive(Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    common: Common,
    /// Rows at most.
    #[arg(long, default_value_t = 100)]
    limit: u32,
    /// Rows to skip.
    #[arg(long, default_value_t = 0)]
    offset: u32,
}

pub(crate) async fn init(args: &InitArgs, env: Env) -> Result<(), Failure> {
    let common = &args.common;
    let data = &common.data;
    let existed = data.join("book.db").exists();
    if !existed && let Some(_lock) = lock(data)? {
        let config = Config::load(data)?;
        let options = NodeOptions {
            id: args.node_id,
            ..NodeOptions::of_machine(&config)
        };
        drop(Node::open(data, config, env.clone(), &options)?);
    }
    let status: NodeStatus = get(common, env, "/v1/status").await?;
    check_id(data, args.node_id, (status.node_id, &status.formers))?;
    output::show(common.json, &status, |status| {
        let what = if existed {
            "there is a node already"
        } else {
            "made a node"
        };
        let (data, tier) = (data.display(), &status.tier);
        format!("{what} in {data}: {} ({tier})", status.node_id)
    })
}

pub(crate) async fn activate(args: ActivateArgs, env: Env) -> Result<(), Failure> {
    let command = ActivateCommand {
        join: args.join,
        hub: args.hub,
        name: args.name,
        phone: args.phone,
        email: args.email,
    };
    let client = LocalClient::reach(&args.common.data, env).await?;
    let shared = client
        .share(&args.common.data)
        .await
        .map_err(|error| Failure::failed(&error))?;
    let answer = client
        .call(Method::POST, "/v1/activate", Some(&command))
        .await;
    // Without a daemon nobody else would send what trial has left behind.
    if let (Some(shared), Ok(_)) = (shared, &answer) {
        let synced: Result<SyncReport, _> =
            client.call::<(), _>(Method::POST, "/v1/sync", None).await;
        if let Err(error) = synced {
            output::note(&format!("activated, but not synced yet: {error}"));
        }
        shared.end().await;
    }
    let answer: ActivateAnswer = answer?;
    output::show(args.common.json, &answer, |answer| {
        format!(
            "activated: lane {} of {} ({})",
            answer.lane, answer.shop_name, answer.shop
        )
    })
}

pub(crate) async fn hub(common: &Common, url: String, env: Env) -> Result<(), Failure> {
    let moved: HubMoved = ask(common, env, Method::PUT, "/v1/hub", Some(&HubMoved { url })).await?;
    output::show(common.json, &moved, |moved| {
        format!("the hub is at {} from now on", moved.url)
    })
}

pub(crate) async fn fence(common: &Common, by: String, env: Env) -> Result<(), Failure> {
    let request = FenceRequest { by };
    let fenced: Fenced = ask(common, env, Method::POST, "/v1/fence", Some(&request)).await?;
    output::show(common.json, &fenced, |fenced| {
        let Fenced { left, series, .. } = fenced;
        format!("receipts are numbered in series {series} from now on, and not in {left} any more")
    })
}

pub(crate) async fn sync(common: &Common, env: Env) -> Result<(), Failure> {
    let report: SyncReport = ask_long::<(), _>(common, env, "/v1/sync", None).await?;
    output::show(common.json, &report, |report| {
        let gate = if report.update_required {
            "; the catalog waits: update required"
        } else {
            ""
        };
        format!(
            "synced: {} frames up ({} bytes), {} frames down ({} bytes); the hub has {} entries and \
             has consolidated {}; catalog revision {}{gate}",
            report.frames_up,
            report.bytes_up,
            report.frames_down,
            report.bytes_down,
            report.hub_received_seq,
            report.hub_consolidated_seq,
            report.catalog_revision
        )
    })
}

pub(crate) async fn status(common: &Common, env: Env) -> Result<(), Failure> {
    let status: NodeStatus = get(common, env, "/v1/status").await?;
    output::show(common.json, &status, status_text)
}

fn status_text(status: &NodeStatus) -> String {
    let shop = match (&status.shop_name, status.lane) {
        (Some(shop), Some(lane)) => format!("lane {lane} of {shop}"),
        _ => "no shop yet".to_owned(),
    };
    let sync = match status.listening {
        true => format!("{}, listening for news", status.sync),
        false => status.sync.clone(),
    };
    let mut rows = vec![
        ("node", status.node_id.to_string()),
        ("tier", status.tier.clone()),
        ("shop", shop),
        (
            "hub",
            status.hub_url.clone().unwrap_or_else(|| "none".to_owned()),
        ),
        ("sync", sync),
        ("series", series_text(status)),
        (
            "receipts",
            format!("{}, {}", status.receipts, money(status.total_minor)),
        ),
        (
            "journal",
            format!(
                "{} entries; the hub has {}, consolidated {}",
                status.journal_seq, status.hub_received_seq, status.hub_consolidated_seq
            ),
        ),
        (
            "queue",
            format!(
                "{} entries wait for the hub; another lane has {} of them",
                status.pending, status.stages.peer_ack
            ),
        ),
        (
            "catalog",
            format!(
                "revision {}, {} edits pending",
                status.catalog_revision, status.pending_edits
            ),
        ),
    ];
    rows.extend(happened(status));
    rows.iter()
        .map(|(key, value)| format!("{key:<12} {value}"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// The lines of the status that are there when there is something to say.
fn happened(status: &NodeStatus) -> Vec<(&'static str, String)> {
    let mut rows = Vec::new();
    for former in &status.formers {
        rows.push(("was before", was_before(former)));
    }
    if let Some(mesh) = &status.mesh {
        rows.push(("lanes", lanes_text(mesh)));
    }
    if let Some(pairing) = &status.pairing {
        let others = pairing.lanes.iter().filter(|it| !it.revoked).count();
        let text = match &pairing.with {
            Some(with) => format!("lane {}, paired with {with}", pairing.lane),
            None => format!(
                "lane {}, {others} other lanes were paired here",
                pairing.lane
            ),
        };
        rows.push(("trial shop", text));
    }
    if status.pins_missing {
        let text = "asked for, and no active employee has one: whoever is at this till sells; \
                    give somebody a PIN at the hub (counterfoil-hub employees pin)";
        rows.push(("PINs", text.to_owned()));
    }
    if status.oversold > 0 {
        let text = format!(
            "{} products oversold: see levels --oversold",
            status.oversold
        );
        rows.push(("stock", text));
    }
    if let Some(at_ms) = status.last_synced_ms {
        rows.push(("last synced", time(at_ms)));
    }
    if let Some(offset_ms) = status.clock_offset_ms {
        rows.push(("clock", format!("{offset_ms} ms ahead of the hub's")));
    }
    if let Some(end_ms) = status.token_expires_ms {
        rows.push(("token until", time(end_ms)));
    }
    if let Some(error) = &status.last_error {
        rows.push(("last error", error.clone()));
    }
    if let Some(healed) = &status.last_healed {
        let text = format!("{}, {}", time(healed.at_ms), healed.what);
        rows.push(("last healed", text));
    }
    if let Some(notice) = &status.notice {
        rows.push(("notice", notice.clone()));
    }
    rows
}

pub(crate) async fn queue(args: &ListArgs, env: Env) -> Result<(), Failure> {
    let path = format!("/v1/queue?limit={}", args.limit);
    let rows: Vec<QueueRow> = get(&args.common, env, &path).await?;
    output::show(args.common.json, &rows, |rows| {
        let header = [
            "seq",
            "topic",
            "priority",
            "state",
            "stage",
            "created",
            "at a lane",
            "at the hub",
            "retries",
            "last error",
        ];
        let cells = |row: &QueueRow| {
            vec![
                row.seq.to_string(),
                row.topic.clone(),
                row.priority.clone(),
                row.state.clone(),
                row.stage.clone(),
                time(row.created_ms),
                row.peer_acked_ms.map(time).unwrap_or_default(),
                row.cloud_acked_ms.map(time).unwrap_or_default(),
                row.retry_count.to_string(),
                row.last_error.clone().unwrap_or_default(),
            ]
        };
        table(&header, rows.iter().map(cells))
    })
}

pub(crate) async fn logs(args: &ListArgs, env: Env) -> Result<(), Failure> {
    let path = format!("/v1/logs?limit={}", args.limit);
    let rows: Vec<LogRow> = get(&args.common, env, &path).await?;
    output::show(args.common.json, &rows, |rows| {
        let cells = |row: &LogRow| {
            vec![
                time(row.at_ms),
                row.level.clone(),
                row.event.clone(),
                row.detail.to_string(),
            ]
        };
        table(
            &["time", "level", "event", "detail"],
            rows.iter().map(cells),
        )
    })
}

pub(crate) async fn receipts(args: &ListArgs, env: Env) -> Result<(), Failure> {
    let path = format!("/v1/receipts?limit={}&offset={}", args.limit, args.offset);
    let rows: Vec<ReceiptRow> = get(&args.common, env, &path).await?;
    output::show(args.common.json, &rows, |rows| {
        let cells = |row: &ReceiptRow| {
            vec![
                format!("{}-{}", row.series, row.number),
                row.topic.clone(),
                time(row.at_ms),
                money(row.total_minor),
                row.id.to_string(),
            ]
        };
        table(
            &["number", "kind", "time", "total", "id"],
            rows.iter().map(cells),
        )
    })
}

fn series_text(status: &NodeStatus) -> String {
    let series = &status.series;
    match &status.fenced {
        Some(Fenced {
            at_ms, why, left, ..
        }) => format!("{series}, since {} in place of {left}: {why}", time(*at_ms)),
        None => series.clone(),
    }
}

fn lanes_text(mesh: &MeshStatus) -> String {
    let copied = mesh.peers.iter().map(|peer| peer.acknowledged_seq).max();
    let copied = copied.unwrap_or(0);
    let refusal = match &mesh.last_refusal {
        Some(text) => format!("; the last that was not let in: {text}"),
        None => String::new(),
    };
    let port = match &mesh.listen_error {
        Some(text) => format!("; no other lane reaches this one: {text}"),
        None => String::new(),
    };
    let stock = mesh.reconciliation.as_ref();
    let stock = stock.map_or_else(String::new, |outcome| {
        format!(
            "; {}, {}",
            time(outcome.at_ms),
            reconciliation_text(outcome)
        )
    });
    format!(
        "{} connected{}; another lane has the journal up to {copied}; {} journals held here{stock}{port}{refusal}",
        mesh.connections,
        connected_text(mesh),
        mesh.journals.len()
    )
}

/// Who is, and how it was found.
fn connected_text(mesh: &MeshStatus) -> String {
    let found = |found_by| match found_by {
        Some(FoundBy::Configured) => "configured",
        Some(FoundBy::Discovered) => "discovered",
        None => "came by itself",
    };
    let lanes = mesh.peers.iter().filter_map(|peer| {
        let lane = peer.lane.filter(|_| peer.connected)?;
        Some(format!("lane {lane} {}", found(peer.found_by)))
    });
    let lanes: Vec<String> = lanes.collect();
    match lanes.is_empty() {
        true => String::new(),
        false => format!(" ({})", lanes.join(", ")),
    }
}

fn was_before(former: &Former) -> String {
    let (lane, common) = (former.lane, former.common.seq);
    if lane == Former::NO_LANE {
        return "a till in trial: this folder is a copy of one that was activated before it"
            .to_owned();
    }
    format!(
        "lane {lane}: this till was restored from a backup or cloned; its entries up to {common} \
         are lane {lane}'s"
    )
}
