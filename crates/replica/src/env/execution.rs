//! Where blocking work runs: on threads in production, inline in the simulation.
//!
//! libSQL's calls block. A value that must stay on one thread, such as the writer, lives in a
//! [`Worker`].

use std::{
    any::Any,
    io,
    ops::ControlFlow,
    panic::{AssertUnwindSafe, catch_unwind},
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

/// Work on the value; the second argument stops the process, and `Break` says that it was called.
type Job<T> = Box<dyn FnOnce(&mut T, &dyn Fn()) -> ControlFlow<()> + Send>;

/// Owns a value that blocking calls are made on, one after another.
///
/// A panic that leaves a piece of work is a failed assertion: on a thread it is logged and stops the
/// process, before the value is dropped, so that the files stay as they are; a daemon without its
/// worker would answer health checks and do nothing else. Inline the panic goes to the caller.
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
        Self::start_with_stop(execution, name, value, || std::process::abort())
    }

    /// Like [`Worker::start`], with something else than the end of the process after a panic on the
    /// thread: for tests that panic on purpose. When `stop` returns, the thread ends.
    ///
    /// # Errors
    /// When the operating system has no thread to give.
    pub fn start_with_stop(
        execution: Execution,
        name: &str,
        value: T,
        stop: impl Fn() + Send + 'static,
    ) -> io::Result<Self> {
        let inner = match execution {
            Execution::Inline => Inner::Inline(Mutex::new(value)),
            Execution::Threads => {
                let (jobs, queue) = channel();
                let thread = thread::Builder::new()
                    .name(name.to_owned())
                    .spawn(move || run_jobs(value, &queue, &stop))?;
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
    /// When this or an earlier piece of work panicked and the process goes on all the same: the
    /// value cannot be trusted any more.
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
                let job: Job<T> = Box::new(move |value, stop| {
                    // Nobody uses the value after a panic.
                    match catch_unwind(AssertUnwindSafe(|| work(value))) {
                        Ok(result) => {
                            // The caller may have stopped waiting; the work is done all the same.
                            reply.send(result).ok();
                            ControlFlow::Continue(())
                        }
                        Err(panic) => {
                            report(&*panic);
                            stop();
                            ControlFlow::Break(())
                        }
                    }
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

fn run_jobs<T>(mut value: T, queue: &Receiver<Job<T>>, stop: &dyn Fn()) {
    while let Ok(job) = queue.recv() {
        if job(&mut value, stop).is_break() {
            return;
        }
    }
}

fn report(panic: &(dyn Any + Send)) {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let thread = thread::current();
    tracing::error!(
        worker = thread.name().unwrap_or_default(),
        panic = text.unwrap_or("not a text"),
        "an assertion failed; the process stops and its files stay as they are"
    );
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
            // A panic was logged already.
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

    type Fallen = Result<u32, Box<dyn Any + Send>>;

    /// Runs the work in a task of its own, which takes a panic that reaches the caller.
    async fn call(
        worker: &Worker<u32>,
        work: impl FnOnce(&mut u32) -> u32 + Send + 'static,
    ) -> Fallen {
        let worker = worker.clone();
        let task = tokio::spawn(async move { worker.call(work).await });
        task.await.map_err(tokio::task::JoinError::into_panic)
    }

    #[tokio::test]
    async fn the_stop_comes_before_anybody_is_told_of_the_panic() {
        let (stop, stopped) = channel();
        let worker = Worker::start_with_stop(Execution::Threads, "worker", 7, move || {
            stop.send(()).unwrap();
        })
        .unwrap();
        let caught = call(&worker, |value| {
            catch_unwind(|| panic!("on purpose")).unwrap_err();
            *value
        });
        assert_eq!(caught.await.unwrap(), 7);
        stopped.try_recv().unwrap_err();
        call(&worker, |_| panic!("on purpose")).await.unwrap_err();
        stopped.try_recv().unwrap();
        call(&worker, |value| *value).await.unwrap_err();
    }

    #[tokio::test]
    async fn inline_and_in_other_blocking_work_a_panic_goes_to_the_caller() {
        let inline = Worker::start(Execution::Inline, "worker", 7).unwrap();
        let panic = call(&inline, |_| panic!("inline")).await.unwrap_err();
        assert_eq!(panic.downcast_ref(), Some(&"inline"));
        for execution in [Execution::Inline, Execution::Threads] {
            let task = tokio::spawn(async move { execution.blocking(|| panic!("blocking")).await });
            let panic: Box<dyn Any + Send> = match task.await {
                Ok(()) => unreachable!("the work panics"),
                Err(error) => error.into_panic(),
            };
            assert_eq!(panic.downcast_ref(), Some(&"blocking"));
        }
    }
}
