//! The three ways content goes up: frames, the pages that differ, the newest pages of a backlog.

use counterfoil_protocol::wire::replication::PushStatus;

use super::{
    BookReplica, Progress, PushError, PushReport,
    backlog::Backlog,
    book::{self, Encodings, Sending},
    difference::{self, Difference},
};
use crate::{
    local::LocalError,
    remote::{HubInfo, Packet, Remote},
};

impl BookReplica {
    /// Sends what is planned; false when the hub's answer calls for a new plan.
    pub(super) async fn send(
        &self,
        remote: &Remote,
        mut sending: Sending,
        mut encodings: Encodings,
        report: &mut PushReport,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<bool, PushError> {
        let total = report.frames + (sending.until - sending.acknowledged);
        while sending.acknowledged < sending.until {
            let packet = self
                .on_local(move |local| book::packet(local, &sending, encodings))
                .await?;
            let Some((packet, last)) = packet else {
                return Ok(false);
            };
            let Packet {
                generation, end, ..
            } = packet;
            let sent_bytes = packet.body.sent_bytes();
            let answer = remote.push(packet).await?;
            report.bytes_up += sent_bytes;
            if answer.send_whole && encodings.delta {
                tracing::warn!("the hub holds other pages than it should; frames are sent whole");
                report.deltas_refused += 1;
                // Once is enough: what follows would refer to the same pages.
                encodings.delta = false;
                continue;
            }
            if (answer.status, answer.generation, answer.max_frame_no)
                != (PushStatus::Ok, generation, end - 1)
            {
                return Ok(false);
            }
            report.frames += last - sending.acknowledged;
            sending.acknowledged = last;
            let kept = self
                .on_local(move |local| book::acknowledge(local, &sending))
                .await?;
            if !kept {
                return Ok(false);
            }
            let (frames_done, bytes_up) = (report.frames, report.bytes_up);
            progress(Progress {
                frames_done,
                frames_total: total,
                bytes_up,
            });
        }
        report.generation = sending.mapping.generation;
        report.max_frame_no = sending.hub_frame();
        Ok(true)
    }

    /// Sends the pages that differ; ends early when the hub's answer calls for a new plan.
    pub(super) async fn send_difference(
        &self,
        remote: &Remote,
        info: &HubInfo,
        report: &mut PushReport,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<(), PushError> {
        let pages = remote.pages(info.generation, info.committed_frame_no);
        let digests = match (info.says_pages, info.is_stock && info.empty) {
            (true, _) => pages.await?,
            // An empty database has no page.
            (false, true) => Some(Vec::new()),
            (false, false) => return Err(PushError::DifferenceNotTaken),
        };
        let Some(digests) = digests else {
            return Ok(());
        };
        let hub = info.clone();
        let prepared = self
            .on_local(move |local| Difference::prepare(local, &hub, &digests))
            .await?;
        let Some(mut difference) = prepared else {
            return Ok(());
        };
        let (total, zstd) = (report.frames + difference.total(), info.takes_zstd);
        loop {
            let (packet, kept) = self
                .execution
                .blocking(move || (difference.packet(zstd), difference))
                .await;
            difference = kept;
            let Some(packet) = packet.map_err(LocalError::from)? else {
                break;
            };
            let (end, chain) = (packet.end, packet.chain);
            let (generation, sent_bytes) = (packet.generation, packet.body.sent_bytes());
            let answer = remote.push(packet).await?;
            report.bytes_up += sent_bytes;
            if (answer.status, answer.generation, answer.max_frame_no)
                != (PushStatus::Ok, generation, end - 1)
            {
                return Ok(());
            }
            report.frames += difference.acknowledge(end, chain);
            progress(Progress {
                frames_done: report.frames,
                frames_total: total,
                bytes_up: report.bytes_up,
            });
        }
        report.difference_pages = Some(difference.total());
        let mapping = difference.mapping();
        self.on_local(move |local| difference::adopt(local, mapping))
            .await?;
        Ok(())
    }

    /// Sends the newest version of each page that waits; ends early when the hub's answer calls for a
    /// new plan.
    pub(super) async fn send_backlog(
        &self,
        remote: &Remote,
        info: &HubInfo,
        sending: Sending,
        report: &mut PushReport,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<(), PushError> {
        let hub = info.clone();
        let prepared = self
            .on_local(move |local| Backlog::prepare(local, &hub, &sending))
            .await?;
        let Some(mut backlog) = prepared else {
            return Ok(());
        };
        let total = report.frames + backlog.total();
        let mut encodings = Encodings {
            zstd: info.takes_zstd,
            delta: info.takes_delta && report.deltas_refused == 0,
        };
        while !backlog.is_sent() {
            let (packet, kept) = self
                .on_local(move |local| (backlog.packet(local, encodings), backlog))
                .await;
            backlog = kept;
            let Some(packet) = packet? else {
                return Ok(());
            };
            let (end, chain) = (packet.end, packet.chain);
            let (generation, sent_bytes) = (packet.generation, packet.body.sent_bytes());
            let answer = remote.push(packet).await?;
            report.bytes_up += sent_bytes;
            if answer.send_whole && encodings.delta {
                tracing::warn!("the hub holds other pages than it should; frames are sent whole");
                report.deltas_refused += 1;
                encodings.delta = false;
                continue;
            }
            if (answer.status, answer.generation, answer.max_frame_no)
                != (PushStatus::Ok, generation, end - 1)
            {
                return Ok(());
            }
            report.frames += backlog.acknowledge(end, chain);
            progress(Progress {
                frames_done: report.frames,
                frames_total: total,
                bytes_up: report.bytes_up,
            });
        }
        let mapping = backlog.mapping();
        self.on_local(move |local| difference::adopt(local, mapping))
            .await?;
        Ok(())
    }
}
