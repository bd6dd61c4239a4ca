//! Whether a data folder may go on with its receipt series (X8, G4), judged at each opening by a mark that lies outside of it.
//!
//! What lies in a folder goes back in time with the folder. So a till notes beside it, elsewhere on the machine, how far
//! its journal is and where it lies. A folder that has less than its mark was restored; one whose mark names another folder
//! that is still there is a copy; one that had a mark and comes without it, at another place or as another file, was put
//! together from a backup or copied from another machine. A mark that is behind proves nothing: it is written after the
//! sale, and a till may be killed in between.

use counterfoil_domain::lineage::Point;
use serde::{Deserialize, Serialize};

/// Why a folder leaves its series that comes without its mark.
const ELSEWHERE: &str = "this folder was copied from another machine, or restored from a backup";

/// What lies outside of the folder, for one series.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Mark {
    /// The data folder.
    pub(crate) path: String,
    /// The end of its journal.
    #[serde(flatten)]
    pub(crate) end: Point,
}

/// Where a book lies, as far as its machine can tell it from a copy.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Place {
    /// The data folder.
    pub(crate) path: String,
    /// Number of the book's file.
    pub(crate) inode: u64,
    /// When the file was made, milliseconds since the Unix epoch; `None` where the file system does not tell.
    pub(crate) born_ms: Option<i64>,
}

/// What the book itself says of its mark: it had one when it lay there.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Marked {
    /// Of which series the mark was.
    pub(crate) key: String,
    /// Where the book lay.
    #[serde(flatten)]
    pub(crate) place: Place,
}

/// What is known when a folder is opened.
#[derive(Clone, Debug)]
pub(crate) struct Evidence {
    /// The series in question.
    pub(crate) key: String,
    /// Where the book lies.
    pub(crate) here: Place,
    /// What the book says.
    pub(crate) marked: Option<Marked>,
    /// What lies outside.
    pub(crate) mark: Option<Mark>,
    /// Whether the journal holds what the mark says.
    pub(crate) holds_mark: bool,
    /// Whether a book of this till lies where the mark says, and is another file.
    pub(crate) another_is_there: bool,
}

/// Why the folder must not go on with its series; `None` when it may.
pub(crate) fn judge(evidence: &Evidence) -> Option<&'static str> {
    let Evidence { here, .. } = evidence;
    match (&evidence.mark, &evidence.marked) {
        (Some(mark), _) if mark.path != here.path && evidence.another_is_there => {
            Some("this folder is a copy of another one on this machine")
        }
        (Some(_), _) if !evidence.holds_mark => {
            Some("this folder has less than was recorded here: it was restored from a backup")
        }
        (Some(_), _) => None,
        // The series has just begun, or its till comes from a program that made no marks.
        (None, Some(marked)) if marked.key != evidence.key => None,
        (None, Some(marked)) if is_another(&marked.place, here) => Some(ELSEWHERE),
        // Nobody made one yet, or it was lost alone.
        (None, _) => None,
    }
}

/// Why a folder that is open must not go on with its series, when a mark of it lies outside that this process may not have
/// written; `None` when it may. Only a mark that the journal does not hold says anything: one that is behind was written
/// by this folder, by this process or one before.
pub(crate) fn judge_open(holds_mark: bool) -> Option<&'static str> {
    (!holds_mark).then_some("a copy of this folder runs at the same time, with the same marks")
}

/// The reason in words: with advice, when the same place comes without its mark as it did before. A container whose marks
/// do not outlast it looks like that at each start.
pub(crate) fn in_words(why: &str, evidence: &Evidence, before: Option<&str>) -> String {
    let marked = evidence.marked.as_ref();
    let is_same_place = marked.is_some_and(|it| it.place.path == evidence.here.path);
    let is_again = before.is_some_and(|before| before.starts_with(ELSEWHERE));
    if why == ELSEWHERE && is_same_place && is_again {
        format!("{why}; as the time before: if neither is so, give `fence_dir` a volume of its own")
    } else {
        why.to_owned()
    }
}

/// Whether a book lies elsewhere than it did, or is another file.
fn is_another(was: &Place, is: &Place) -> bool {
    let is_younger = was.born_ms.is_some() && is.born_ms.is_some() && was.born_ms != is.born_ms;
    was.path != is.path || was.inode != is.inode || is_younger
}

#[cfg(test)]
mod tests {
    use super::*;
    use counterfoil_domain::Chain;

    fn place(path: &str, inode: u64) -> Place {
        Place {
            path: path.to_owned(),
            inode,
            born_ms: Some(7),
        }
    }

    fn mark(path: &str) -> Mark {
        Mark {
            path: path.to_owned(),
            end: Point {
                seq: 5,
                chain: Chain::START,
            },
        }
    }

    /// A till that goes on where it was.
    fn usual() -> Evidence {
        Evidence {
            key: "K".to_owned(),
            here: place("/till", 1),
            marked: Some(Marked {
                key: "K".to_owned(),
                place: place("/till", 1),
            }),
            mark: Some(mark("/till")),
            holds_mark: true,
            another_is_there: false,
        }
    }

    type Change = fn(&mut Evidence);

    #[test]
    fn what_goes_on_where_it_was_or_lost_a_mark_keeps_its_series() {
        let fits: [(&str, Change); 7] = [
            ("goes on", |_| {}),
            ("never had a mark", |it| {
                (it.mark, it.marked) = (None, None);
            }),
            ("was moved", |it| it.here = place("/elsewhere", 2)),
            ("is reached by another name", |it| {
                it.here = place("/link", 1);
            }),
            ("lost its mark alone", |it| it.mark = None),
            ("lost it where nobody knows when files were made", |it| {
                it.mark = None;
                it.here.born_ms = None;
            }),
            ("has a new name and no mark under it yet", |it| {
                it.mark = None;
                it.key = "L".to_owned();
                it.here = place("/elsewhere", 2);
            }),
        ];
        for (what, change) in fits {
            let mut evidence = usual();
            change(&mut evidence);
            assert_eq!(judge(&evidence), None, "{what}");
        }
    }

    #[test]
    fn only_what_was_restored_or_copied_leaves_its_series() {
        let fenced: [(&str, Change, &str); 6] = [
            ("put back", |it| it.holds_mark = false, "restored"),
            (
                "put back at another place",
                |it| {
                    it.holds_mark = false;
                    it.here = place("/elsewhere", 2);
                },
                "restored",
            ),
            (
                "copied",
                |it| {
                    it.another_is_there = true;
                    it.here = place("/copy", 2);
                },
                "a copy of another",
            ),
            (
                "brought to another machine",
                |it| {
                    it.mark = None;
                    it.here = place("/elsewhere", 1);
                },
                "another machine",
            ),
            (
                "brought to the same place on another machine",
                |it| {
                    it.mark = None;
                    it.here.inode = 2;
                },
                "another machine",
            ),
            (
                "the same, and its number happens to be the same",
                |it| {
                    it.mark = None;
                    it.here.born_ms = Some(8);
                },
                "another machine",
            ),
        ];
        for (what, change, says) in fenced {
            let mut evidence = usual();
            change(&mut evidence);
            let why = judge(&evidence).unwrap_or_default();
            assert!(why.contains(says), "{what}: {why}");
        }
    }

    #[test]
    fn a_place_that_comes_without_its_mark_again_is_told_about_the_fence_folder() {
        let mut evidence = usual();
        (evidence.mark, evidence.here.inode) = (None, 2);
        let first = in_words(ELSEWHERE, &evidence, Some("jo says so"));
        assert_eq!(first, ELSEWHERE);
        let second = in_words(ELSEWHERE, &evidence, Some(&first));
        assert!(second.contains("a volume of its own"), "{second}");
        assert_eq!(in_words(ELSEWHERE, &evidence, Some(&second)), second);
        assert_eq!(in_words("restored", &evidence, Some(&second)), "restored");
        evidence.here.path = "/elsewhere".to_owned();
        assert_eq!(in_words(ELSEWHERE, &evidence, Some(&second)), ELSEWHERE);
    }

    #[test]
    fn an_open_folder_leaves_its_series_only_for_a_mark_that_its_journal_does_not_hold() {
        assert_eq!(judge_open(true), None);
        assert!(judge_open(false).is_some_and(|why| why.contains("at the same time")));
    }
}
