//! Pairing lanes in trial.

use super::ask;
use crate::cli::output::{self, time};
use crate::cli::{Common, Failure};
use clap::Args;
use counterfoil_protocol::wire::pairing::{
    PairCommand, PairingAnswer, PairingLeft, PairingStatus, RevokeCommand,
};
use counterfoil_replica::env::Env;
use http::Method;

#[derive(Args)]
pub(crate) struct PairArgs {
    #[command(flatten)]
    common: Common,
    /// The code that the other lane shows; without it this lane shows one.
    #[arg(long, value_name = "CODE", requires = "with")]
    code: Option<String>,
    /// Where the lane that shows the code is reached; port 8123 when none is named.
    #[arg(long, value_name = "HOST[:PORT]", requires = "code")]
    with: Option<String>,
    /// Leave the trial shop.
    #[arg(long, conflicts_with_all = ["code", "revoke"])]
    forget: bool,
    /// Put a lane out of the trial shop; at lane 1.
    #[arg(long, value_name = "LANE", conflicts_with = "code")]
    revoke: Option<i64>,
}

pub(crate) async fn pair(args: PairArgs, env: Env) -> Result<(), Failure> {
    let common = &args.common;
    if args.forget {
        let left: PairingLeft =
            ask::<(), _>(common, env, Method::DELETE, "/v1/pairing", None).await?;
        return output::show(common.json, &left, |left| match left.shop_id {
            Some(shop) => format!("left the trial shop {shop}; the book stays as it is"),
            None => "this lane was not paired".to_owned(),
        });
    }
    if let Some(lane) = args.revoke {
        let command = RevokeCommand { lane };
        let path = "/v1/pairing/revoke";
        let status: PairingStatus = ask(common, env, Method::POST, path, Some(&command)).await?;
        return output::show(common.json, &status, |_| {
            format!("lane {lane} may not take part any more; the others hear of it from this one")
        });
    }
    let command = PairCommand {
        code: args.code,
        with: args.with,
    };
    let path = "/v1/pairing";
    let answer: PairingAnswer = ask(common, env, Method::POST, path, Some(&command)).await?;
    output::show(common.json, &answer, answer_text)
}

fn answer_text(answer: &PairingAnswer) -> String {
    let PairingAnswer {
        shop_id,
        lane,
        offer,
    } = answer;
    let Some(offer) = offer else {
        return format!("paired: lane {lane} of the trial shop {shop_id}");
    };
    let listen = offer.listen.as_deref().unwrap_or_default();
    let address = listen.trim_start_matches("ws://");
    format!(
        "code     {code}\ngood to  {until}, for one lane\nat       {address} (this machine's name or address, when others reach \
         it by another)\n\nAt the other lane: counterfoil-node pair --code {code} --with HOST:PORT",
        code = offer.code,
        until = time(offer.good_until_ms),
    )
}
