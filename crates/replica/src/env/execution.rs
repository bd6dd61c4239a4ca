//! Where blocking work runs: on threads in production, inline in the simulation.
//!
//! libSQL's calls block. A value that must stay on one thread, such as the writer, lives in a
//! [`Worker`].

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, Sender, channel},
    },
    thread::{self, JoinHandle},
};

use tokio::sync::oneshot;

/// How blocking work is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Execution {
    /// On threads of its own, so that async tasks go on.
    Threads,
    /// At the place of the call: one thread, one order of events, the same every time.
    Inline,
}

impl Execution {
    /// Runs blocking work and gives back its result.
    ///
    /// # Panics
    /// When the work panics; the panic is passed on.
    pub async fn blocking<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> R {
        match self {
            Self::Inline => work(),
            Self::Threads => match tokio::task::spawn_blocking(work).await {
                Ok(result) => result,
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    // Only a runtime that is being dropped cancels; nobody is left to read R.
                    Err(_) => std::future::pending().await,
                },
            },
        }
    }
}

type Job<T> = Box<dyn FnOnce(&mut T) + Send>;

/// Owns a value that blocking calls are made on, one after another.
pub struct Worker<T> {
    inner: Arc<Inner<T>>,
}

enum Inner<T> {
    Inline(Mutex<T>),
    Thread {
        jobs: Mutex<Option<Sender<Job<T>>>>,
        thread: Mutex<Option<JoinHandle<()>>>,
    },
}

impl<T> Clone for Worker<T> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

impl<T> std::fmt::Debug for Worker<T> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Worker").finish_non_exhaustive()
    }
}

impl<T: Send + 'static> Worker<T> {
    /// Puts the value to work, on a thread of that name or inline.
    ///
    /// # Errors
    /// When the operating system has no thread to give.
    pub fn start(execution: Execution, name: &str, value: T) -> io::Result<Self> {
        let inner = match execution {
            Execution::Inline => Inner::Inline(Mutex::new(value)),
            Execution::Threads => {
                let (jobs, queue) = channel();
                let thread = thread::Builder::new()
                    .name(name.to_owned())
                    .spawn(move || run_jobs(value, &queue))?;
                Inner::Thread {
                    jobs: Mutex::new(Some(jobs)),
                    thread: Mutex::new(Some(thread)),
                }
            }
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Runs one piece of work on the value, after all work handed in before.
    ///
    /// Dropping the returned future does not take back work already handed in.
    ///
    /// # Panics
    /// When this or an earlier piece of work panicked: the value cannot be trusted any more.
    pub async fn call<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut T) -> R + Send + 'static,
    ) -> R {
        match &*self.inner {
            Inner::Inline(value) => {
                let mut value = value
                    .lock()
                    .expect("no earlier work on this value panicked");
                work(&mut value)
            }
            Inner::Thread { jobs, .. } => {
                let (reply, answer) = oneshot::channel();
                let job: Job<T> = Box::new(move |value| {
                    // The caller may have stopped waiting; the work is done all the same.
                    reply.send(work(value)).ok();
                });
                if let Some(jobs) = &*jobs.lock().unwrap_or_else(PoisonError::into_inner) {
                    // A dead thread has dropped the queue: the answer below then reports it.
                    jobs.send(job).ok();
                }
                answer.await.expect("no work on this value panicked")
            }
        }
    }
}

fn run_jobs<T>(mut value: T, queue: &Receiver<Job<T>>) {
    while let Ok(job) = queue.recv() {
        job(&mut value);
    }
}

impl<T> Drop for Inner<T> {
    fn drop(&mut self) {
        let Self::Thread { jobs, thread } = self else {
            return;
        };
        drop(
            jobs.get_mut()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        let thread = thread
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread
            // A job may hold the last handle: a thread cannot wait for itself.
            && thread.thread().id() != thread::current().id()
        {
            // A panic was reported to the callers already.
            thread.join().ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tells the child process of the test below what it is.
    const CHILD: &str = "COUNTERFOIL_TEST_PANICKING_WORKER";

    #[tokio::test]
    async fn a_panic_on_a_workers_thread_stops_the_process() {
        if std::env::var_os(CHILD).is_some() {
            let worker = Worker::start(Execution::Threads, "child", ()).unwrap();
            worker.call(|()| panic!("an assertion of a job")).await;
            return;
        }
        let test = "env::execution::tests::a_panic_on_a_workers_thread_stops_the_process";
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args([test, "--exact", "--nocapture"])
            .env(CHILD, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stderr);
        assert!(said.contains("an assertion of a job"), "{said}");
        // 101 is a test that failed: a process that lived on.
        assert!(!child.status.success(), "{:?}", child.status);
        assert_ne!(child.status.code(), Some(101));
    }
}
