//! The writer gate: a moment in which no transaction of this process is open on a database.

use crate::env::BoxFuture;

/// What the gate is closed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateUse {
    /// A checkpoint: no write transaction may be open, and readers should be idle.
    Checkpoint,
    /// The file is replaced: every connection to it must be detached or closed before the job, and
    /// attached or opened again after it.
    Swap,
}

/// Work done while the gate is closed: milliseconds, no network.
pub type GateJob = Box<dyn FnOnce() + Send>;

/// The writer has stopped; the job was not run and never will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the writer has stopped")]
pub struct GateClosed;

/// Runs jobs between transactions, usually on the writer's own thread.
pub trait Gate: Send + Sync {
    /// Runs the job; the future is ready when the job has ended.
    fn run(&self, gate_use: GateUse, job: GateJob) -> BoxFuture<'_, Result<(), GateClosed>>;
}

/// A gate for a database that this process writes to in no other way.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenGate;

impl Gate for OpenGate {
    fn run(&self, _gate_use: GateUse, job: GateJob) -> BoxFuture<'_, Result<(), GateClosed>> {
        job();
        Box::pin(std::future::ready(Ok(())))
    }
}

/// Runs work in the gate and brings its result back.
pub(crate) async fn in_gate<R: Send + 'static>(
    gate: &dyn Gate,
    gate_use: GateUse,
    work: impl FnOnce() -> R + Send + 'static,
) -> Result<R, GateClosed> {
    let (reply, result) = tokio::sync::oneshot::channel();
    // The receiver below waits for as long as the job may run.
    gate.run(gate_use, Box::new(move || drop(reply.send(work()))))
        .await?;
    result.await.map_err(|_| GateClosed)
}
