//! The commands that are one request each.

pub(crate) mod catalog;
pub(crate) mod control;
pub(crate) mod documents;

use crate::cli::{Common, Failure};
use crate::local_client::LocalClient;
use counterfoil_replica::env::Env;
use http::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;

async fn ask<B: Serialize, A: Serialize + DeserializeOwned>(
    common: &Common,
    env: Env,
    method: Method,
    path: &str,
    body: Option<&B>,
) -> Result<A, Failure> {
    let client = LocalClient::reach(&common.data, env).await?;
    Ok(client.call(method, path, body).await?)
}

async fn get<A: Serialize + DeserializeOwned>(
    common: &Common,
    env: Env,
    path: &str,
) -> Result<A, Failure> {
    ask::<(), A>(common, env, Method::GET, path, None).await
}
