//! What is being done when the power goes.

use crate::crash::Lie;
use crate::tape::{Fact, Side};
use crate::world::{Settings, World};

/// A scripted piece of life; everything before its window is on the disk.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, clap::ValueEnum)]
pub enum Scenario {
    /// A till sells.
    Sale,
    /// Sales are pushed, taken in and consolidated.
    Push,
    /// The till folds its logs after every push.
    Checkpoint,
    /// The hub begins a generation after every push and publication.
    Generation,
    /// The hub has lost its copy of the book, and gets all of it again.
    LostCopy,
    /// The till has lost its frame numbers, and sends what differs.
    LostNumbers,
    /// A till gets the catalog for the first time.
    Bootstrap,
    /// A till has lost its catalog's frame numbers, and gets another catalog in the place of the one it has.
    Replacement,
    /// Databases are made and migrated.
    Migration,
    /// A till in trial is bound to a shop.
    Activation,
    /// A till changes its token.
    Rotation,
}

impl Scenario {
    /// Every one.
    pub const ALL: [Self; 11] = [
        Self::Sale,
        Self::Push,
        Self::Checkpoint,
        Self::Generation,
        Self::LostCopy,
        Self::LostNumbers,
        Self::Bootstrap,
        Self::Replacement,
        Self::Migration,
        Self::Activation,
        Self::Rotation,
    ];

    /// Its name in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sale => "sale",
            Self::Push => "push and consolidation",
            Self::Checkpoint => "checkpoint of the till",
            Self::Generation => "generation of the hub",
            Self::LostCopy => "whole book to a hub that lost it",
            Self::LostNumbers => "difference after lost numbers",
            Self::Bootstrap => "bootstrap",
            Self::Replacement => "another catalog in its place",
            Self::Migration => "migration",
            Self::Activation => "activation",
            Self::Rotation => "change of the till's token",
        }
    }

    /// Whose power is cut.
    #[must_use]
    pub fn sides(self) -> &'static [Side] {
        match self {
            Self::Sale | Self::Bootstrap | Self::Replacement => &[Side::Node],
            Self::LostCopy => &[Side::Hub],
            Self::Push
            | Self::Checkpoint
            | Self::Generation
            | Self::LostNumbers
            | Self::Migration
            | Self::Activation
            | Self::Rotation => &[Side::Node, Side::Hub],
        }
    }

    /// The negative control: syncs without which something must be lost.
    #[must_use]
    pub fn control(self, side: Side) -> Lie {
        match (self, side) {
            (Self::Sale, _) => Lie::NormalCommits,
            (Self::Checkpoint, Side::Node) => Lie::Databases,
            (Self::Migration, Side::Hub) => Lie::Everything,
            (Self::Bootstrap, _) | (Self::Rotation, Side::Node) => Lie::Beside,
            (Self::Replacement, _) => Lie::Names,
            _ => Lie::Logs,
        }
    }

    pub(crate) fn settings(self) -> Settings {
        match self {
            Self::Checkpoint => Settings {
                node_wal_limit_mib: 0,
                ..Settings::default()
            },
            Self::Generation => Settings {
                hub_wal_limit_bytes: 1,
                ..Settings::default()
            },
            _ => Settings::default(),
        }
    }

    /// Whether the window begins before anything is open.
    fn begins_closed(self) -> bool {
        matches!(self, Self::Migration)
    }

    /// What is there before the window; the join code, when one was made.
    pub(crate) async fn prepare(self, world: &mut World) -> anyhow::Result<Option<String>> {
        if self == Self::Migration {
            return Ok(None);
        }
        world.start_hub();
        let join = world.add_shop("France").await?;
        world.start_node()?;
        for _ in 0..3 {
            world.sell().await?;
        }
        if self == Self::Activation {
            return Ok(Some(join));
        }
        if self == Self::Bootstrap {
            for product in 0..6 {
                world.set_price(product, 1_000 + product).await?;
            }
            world.activate(&join).await?;
            return Ok(Some(join));
        }
        world.activate(&join).await?;
        if self == Self::Replacement {
            // What follows stands in the log of the catalog, not in its main file.
            world.sync().await?;
        }
        for product in 0..2 {
            world.set_price(product, 1_000).await?;
        }
        for _ in 0..3 {
            world.sync().await?;
            world.rest().await;
        }
        Ok(Some(join))
    }

    /// Files that are lost between the preparation and the window.
    pub(crate) fn lost(self, side: Side, name: &str) -> bool {
        match self {
            Self::LostCopy => name.starts_with("books/"),
            Self::LostNumbers => name == "book.db-sync",
            Self::Replacement => side == Side::Node && name == "catalog.db-sync",
            _ => false,
        }
    }

    /// The window; how many steps failed. The rest goes on, as people do.
    pub(crate) async fn live(self, world: &mut World, join: Option<&str>) -> usize {
        let mut steps = Steps {
            scenario: self,
            failed: 0,
        };
        if self.begins_closed() {
            world.say(Fact::Begin);
        }
        world.start_hub();
        world.rest().await;
        steps.count(world.start_node());
        if !self.begins_closed() {
            world.say(Fact::Begin);
        }
        match self {
            Self::Sale => steps.sell(world, 24).await,
            Self::Push | Self::Checkpoint => steps.sell_and_sync(world, 4, 2).await,
            Self::LostCopy | Self::LostNumbers => steps.sell_and_sync(world, 3, 1).await,
            Self::Generation => {
                for round in 0..4 {
                    steps.count(world.set_price(round % 2, 2_000 + round).await);
                    steps.sell_and_sync(world, 1, 1).await;
                }
            }
            Self::Bootstrap | Self::Replacement => {
                for round in 0..2 {
                    steps.count(world.sync().await);
                    steps.count(world.set_price(round, 3_000).await);
                    steps.sell_and_sync(world, 1, 1).await;
                }
            }
            Self::Migration => {
                steps.sell(world, 2).await;
                steps.count(world.add_shop("France").await.map(drop));
            }
            Self::Rotation => {
                for _ in 0..3 {
                    steps.count(world.rotate_token().await);
                    steps.sell_and_sync(world, 1, 1).await;
                }
            }
            Self::Activation => {
                if let Some(join) = join {
                    steps.count(world.activate(join).await);
                }
                steps.count(world.sync().await);
                steps.sell_and_sync(world, 1, 1).await;
            }
        }
        steps.failed
    }
}

struct Steps {
    scenario: Scenario,
    failed: usize,
}

impl Steps {
    fn count(&mut self, step: anyhow::Result<()>) {
        if let Err(error) = step {
            crate::report::note(&format!("{}: {error:#}", self.scenario.name()));
            self.failed += 1;
        }
    }

    async fn sell(&mut self, world: &World, sales: usize) {
        for _ in 0..sales {
            self.count(world.sell().await.map(drop));
        }
    }

    async fn sell_and_sync(&mut self, world: &World, rounds: usize, sales: usize) {
        for _ in 0..rounds {
            self.sell(world, sales).await;
            self.count(world.sync().await);
            world.rest().await;
        }
    }
}
