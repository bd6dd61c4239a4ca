//! What every stock client must be able to do with a database of the hub, and how it fails.

use crate::client::{Client, Kind};
use crate::content::Reader;
use crate::hub::{Access, Hub};
use anyhow::{Context as _, ensure};
use serde_json::Value;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A hub with one database.
pub struct Scene {
    hub: Hub,
    access: Access,
    folder: TempDir,
    kind: Kind,
    reader: Reader,
}

impl Scene {
    /// Starts a hub and makes a database.
    ///
    /// # Errors
    /// When the hub does not start.
    pub fn new(hub_program: &Path, kind: &Kind, reader: &Reader) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let hub = Hub::start(hub_program, &folder.path().join("hub"))?;
        let access = hub.command(&["database", "add", "notes"])?;
        Ok(Self {
            hub,
            access,
            folder,
            kind: kind.clone(),
            reader: reader.clone(),
        })
    }

    fn folder_of(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn client(&self, name: &str) -> anyhow::Result<Client> {
        Client::start(&self.kind, &self.folder_of(name), &self.access)
    }

    /// A client that made the table.
    fn writer(&self) -> anyhow::Result<Client> {
        let mut writer = self.client("one")?;
        writer.run("CREATE TABLE note (id INTEGER PRIMARY KEY, text TEXT NOT NULL)")?;
        Ok(writer)
    }

    fn fold(&self) -> anyhow::Result<Value> {
        self.hub
            .command(&["database", "fold", "notes", "--in-sync"])
    }

    /// Hub and clients hold the same.
    async fn check(&self, clients: &[&Client], count: usize) -> anyhow::Result<()> {
        let copy = self.hub.copy()?;
        let mut files = vec![copy.as_path()];
        files.extend(clients.iter().map(|client| client.path.as_path()));
        self.reader.same(&files, count).await
    }

    /// Writes, syncs, bootstraps a second replica, goes on after a restart of client and hub.
    ///
    /// # Errors
    /// What went wrong.
    pub async fn syncs_and_bootstraps(mut self) -> anyhow::Result<()> {
        let mut one = self.writer()?;
        for _ in 0..20 {
            one.write(1)?;
        }
        one.sync()?;
        // More frames than the client sends at a time, in one transaction.
        one.write(8_000)?;
        one.sync()?;
        let mut two = self.client("two")?;
        two.sync()?;
        self.check(&[&one, &two], 8_020).await?;
        drop(one);
        self.hub.kill();
        self.hub.run()?;
        let mut one = self.client("one")?;
        one.write(5)?;
        one.sync()?;
        two.sync()?;
        self.check(&[&one, &two], 8_025).await
    }

    /// Clients that are in sync are led into a new generation.
    ///
    /// # Errors
    /// What went wrong.
    pub async fn follows_a_generation(self) -> anyhow::Result<()> {
        let mut one = self.writer()?;
        one.write(300)?;
        one.sync()?;
        let mut two = self.client("two")?;
        two.sync()?;
        let hasty = self.hub.command::<Value>(&["database", "fold", "notes"]);
        let refused = hasty.err().context("folded without --in-sync")?.to_string();
        ensure!(refused.contains("--in-sync"), "{refused}");
        for round in 2..=4 {
            ensure!(self.fold()?["generation"] == round, "no generation began");
            one.sync()?;
            two.sync()?;
            one.write(10)?;
            one.sync()?;
            two.sync()?;
        }
        self.check(&[&one, &two], 330).await
    }

    /// A writer that had frames to send when a generation began is refused, at every sync, with
    /// words. The hub and the client's own file stay as they were.
    ///
    /// # Errors
    /// What went wrong.
    pub async fn refused_with_a_stale_generation(self) -> anyhow::Result<()> {
        let mut one = self.writer()?;
        one.write(10)?;
        one.sync()?;
        one.write(1)?;
        self.fold()?;
        for _ in 0..3 {
            let refused = one.sync().err().context("a stale push was taken")?;
            let text = refused.to_string();
            ensure!(text.contains("409"), "{text}");
            ensure!(text.contains("generation 2 is current"), "{text}");
            ensure!(
                text.contains("begin a new one in an empty folder"),
                "{text}"
            );
        }
        ensure!(one.count()? == 11, "the client lost what it wrote");
        // The way out that the message names.
        let mut new = self.client("new")?;
        new.sync()?;
        ensure!(new.count()? == 10, "not what the hub has");
        new.write(1)?;
        new.sync()?;
        self.check(&[&new], 11).await
    }

    /// A second writer is refused with words; nothing of either is lost.
    ///
    /// # Errors
    /// What went wrong.
    pub async fn refused_as_a_second_writer(self) -> anyhow::Result<()> {
        let mut one = self.writer()?;
        one.write(10)?;
        one.sync()?;
        let mut two = self.client("two")?;
        two.sync()?;
        one.write(1)?;
        two.write(2)?;
        one.sync()?;
        for _ in 0..2 {
            let text = two.sync().err().context("both were taken")?.to_string();
            ensure!(text.contains("another client wrote"), "{text}");
        }
        ensure!(two.count()? == 12, "the second writer lost what it wrote");
        one.write(1)?;
        one.sync()?;
        self.check(&[&one], 12).await
    }

    /// A reader that missed the end of a generation fails and keeps no hole.
    ///
    /// # Errors
    /// What went wrong.
    pub async fn fails_as_a_reader_that_missed_a_generation(self) -> anyhow::Result<()> {
        let mut one = self.writer()?;
        one.write(10)?;
        one.sync()?;
        let mut two = self.client("two")?;
        two.sync()?;
        one.write(10)?;
        one.sync()?;
        self.fold()?;
        let text = two.sync().err().context("it has a hole now")?.to_string();
        ensure!(text.contains("410"), "{text}");
        ensure!(
            text.contains("begin a new one in an empty folder"),
            "{text}"
        );
        ensure!(self.reader.notes(&two.path).await?.len() == 10, "a hole");
        Ok(())
    }

    /// A token that was replaced is refused with words.
    ///
    /// # Errors
    /// What went wrong.
    pub fn refused_without_the_token(self) -> anyhow::Result<()> {
        let mut one = self.writer()?;
        one.sync()?;
        let new: Access = self.hub.command(&["database", "token", "notes"])?;
        one.run("INSERT INTO note (text) VALUES ('late')")?;
        let text = one
            .sync()
            .err()
            .context("an old token was taken")?
            .to_string();
        ensure!(text.contains("401"), "{text}");
        drop(one);
        let mut one = Client::start(&self.kind, &self.folder_of("one"), &new)?;
        one.sync()?;
        let mut stranger = Client::idle(&self.kind, &self.folder_of("stranger"))?;
        let opened = stranger.open(&self.access).and_then(|()| stranger.sync());
        let text = opened.err().context("an old token was taken")?.to_string();
        ensure!(text.contains("401"), "{text}");
        Ok(())
    }

    /// The example of `docs/databases.md` does what the page says.
    ///
    /// # Errors
    /// What went wrong.
    pub fn runs_the_example(self) -> anyhow::Result<()> {
        for expected in ["notes: 1", "notes: 2"] {
            let folder = self.folder_of(expected);
            let printed = crate::example::run(&self.kind, &folder, &self.access)?;
            ensure!(printed.trim() == expected, "it printed `{printed}`");
        }
        let mut other = self.client("other")?;
        other.sync()?;
        ensure!(other.count()? == 2, "the notes are not at the hub");
        Ok(())
    }

    /// Upstream's known fault: a stock client says that a sync succeeded when nobody answers. It
    /// sends later what it kept.
    ///
    /// # Errors
    /// When it says otherwise by now, and the page must be changed.
    pub async fn does_not_notice_that_the_hub_is_away(mut self) -> anyhow::Result<()> {
        let mut one = self.writer()?;
        one.sync()?;
        self.hub.kill();
        one.write(3)?;
        one.sync()
            .context("it tells the truth now: change docs/databases.md")?;
        self.hub.run()?;
        one.sync()?;
        self.check(&[&one], 3).await
    }
}
