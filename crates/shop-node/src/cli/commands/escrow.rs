//! Products under escrow: who may sell how many, and what a person does about it.

use super::documents::recorded;
use super::{ask_with, employees, get, mint};
use crate::cli::output::{self, table};
use crate::cli::{Common, Failure};
use clap::{ArgGroup, Args};
use counterfoil_domain::employee::Permission;
use counterfoil_domain::{DocumentId, NodeId, Quantity};
use counterfoil_protocol::wire::escrow::{
    EscrowLane, EscrowOrder, EscrowRequest, EscrowRow, Escrows,
};
use counterfoil_protocol::wire::node::Recorded;
use counterfoil_replica::env::Env;
use http::{HeaderMap, Method};

#[derive(Args)]
#[command(group = ArgGroup::new("order").args(["begin", "give", "take_over", "release", "end"]))]
pub(crate) struct EscrowArgs {
    #[command(flatten)]
    common: Common,
    /// Sell this product by right from here on: `--quantity` pieces are in the shop, all of them are this lane's to sell.
    #[arg(long, value_name = "SKU", requires = "quantity")]
    begin: Option<String>,
    /// Give another lane the right to sell `--quantity` pieces of this product.
    #[arg(long, value_name = "SKU", requires = "quantity")]
    give: Option<String>,
    /// Take over the right to sell `--quantity` pieces from a lane that does not come back. If it does, or somebody else takes
    /// them over too, more may be sold than there is.
    #[arg(long, value_name = "SKU", requires = "quantity")]
    take_over: Option<String>,
    /// This till was restored or copied, and has sold nothing of this product that its journal does not know.
    #[arg(long, value_name = "SKU")]
    release: Option<String>,
    /// Sell this product freely again.
    #[arg(long, value_name = "SKU")]
    end: Option<String>,
    /// How many pieces.
    #[arg(long, requires = "order")]
    quantity: Option<String>,
    /// Number of the other lane, to give to or to take over from.
    #[arg(long, conflicts_with = "node")]
    lane: Option<i64>,
    /// The other lane by its node, where its number is not enough.
    #[arg(long)]
    node: Option<NodeId>,
    /// Who does it: a catalog id.
    #[arg(long)]
    employee: Option<String>,
    /// Who allows it with their PIN when whoever is signed in may not: a catalog id.
    #[arg(long, value_name = "EMPLOYEE", requires = "order")]
    approved_by: Option<String>,
    /// Id of the document, to repeat a command without recording twice.
    #[arg(long)]
    id: Option<DocumentId>,
}

pub(crate) async fn escrow(args: EscrowArgs, env: Env) -> Result<(), Failure> {
    let orders = [
        (args.begin, EscrowOrder::Begin),
        (args.give, EscrowOrder::Give),
        (args.take_over, EscrowOrder::Take),
        (args.release, EscrowOrder::Release),
        (args.end, EscrowOrder::End),
    ];
    let common = &args.common;
    let mut orders = orders.into_iter();
    let Some((sku, what)) = orders.find_map(|(sku, what)| Some((sku?, what))) else {
        let found: Escrows = get(common, env, "/v1/escrow").await?;
        return output::show(common.json, &found, list);
    };
    let request = EscrowRequest {
        id: Some(args.id.unwrap_or_else(|| mint(&env))),
        sku,
        what,
        quantity: args.quantity,
        lane: args.lane,
        node: args.node,
        employee: args.employee,
    };
    let headers = match &args.approved_by {
        Some(by) => employees::approved(common, env.clone(), by, Permission::Manage).await?,
        None => HeaderMap::new(),
    };
    let path = "/v1/escrow";
    let answer: Recorded =
        ask_with(headers, common, env, Method::POST, path, Some(&request)).await?;
    output::show(common.json, &answer, recorded)
}

fn list(found: &Escrows) -> String {
    let row = |row: &EscrowRow, lane: &EscrowLane| {
        let number = lane
            .lane
            .map_or_else(|| "?".to_owned(), |lane| lane.to_string());
        let notes = [
            (lane.here, "this lane"),
            (lane.here && row.frozen, "frozen: restored or copied"),
            (lane.rights_milli < 0, "sold more than it may: count"),
        ];
        let notes = notes.iter().filter(|(holds, _)| *holds);
        vec![
            row.sku.clone(),
            number,
            Quantity::from_milli(lane.rights_milli).to_string(),
            lane.node.to_string(),
            notes.map(|(_, note)| *note).collect::<Vec<_>>().join(", "),
        ]
    };
    let rows = found.escrows.iter();
    let rows = rows.flat_map(|it| it.lanes.iter().map(move |lane| row(it, lane)));
    let mut text = table(&["product", "lane", "may sell", "node", ""], rows);
    for row in &found.escrows {
        if row.begun_apart > 0 {
            let sku = &row.sku;
            text.push_str(&format!(
                "\n{sku}: two lanes began apart; count it, end it, begin anew"
            ));
        }
        for node in &row.unheard {
            let sku = &row.sku;
            text.push_str(&format!(
                "\n{sku}: lane {node} has not heard of it, and may sell freely"
            ));
        }
    }
    text
}
