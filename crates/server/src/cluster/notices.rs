//! What administrators are told of a cluster: notices by webhook and mail, and lines in the events.
//!
//! A task of its own follows what the node sees. What is told, when and by which node is decided in
//! `matters`; here are the clock, the words and where they go. That this node has lost etcd and is back
//! is written into the events by the node itself, at once.

mod matters;

use std::sync::Arc;
use std::time::Duration;

use licence_core::cluster::NodeId;
use licence_core::time::Utc;
use serde_json::json;
use tokio::sync::watch;

use self::matters::{Matters, Tiding};
use super::memory::Memory;
use super::node::State;
use super::put_down;
use crate::api::App;
use crate::clock;
use crate::driver::AuditNote;
use crate::notify::Postbox;
use crate::notify::rules::{Kind, Notice};

/// The task looks at the clock at least this often: its timer stands still while the machine sleeps.
const NAP_MAX: Duration = Duration::from_secs(30);

/// Follows what the node sees until it ends, and tells what is worth it.
pub(crate) async fn run(app: Arc<App>, mut states: watch::Receiver<Arc<State>>, post: Postbox) {
    let (path, cluster) = (app.paths.cluster(), states.borrow().cluster);
    let reading =
        tokio::task::spawn_blocking(move || Memory::new(path).read(cluster, clock::now()));
    // A look that breaks down promises nothing.
    let mut matters = Matters::new(reading.await.ok().flatten());
    loop {
        let state = states.borrow_and_update().clone();
        let now = clock::now();
        for tiding in matters.look(&state, now) {
            if let Some(note) = line(&tiding, &state) {
                write(&app, note);
            }
            post.put(&app, [notice(&tiding, &state)]);
        }
        let nap = matters.poll_timeout().map_or(NAP_MAX, |at| at.since(now.mono));
        let nap = nap.clamp(Duration::from_millis(1), NAP_MAX);
        tokio::select! {
            changed = states.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            // What is due, or the clock.
            () = tokio::time::sleep(nap) => {}
        }
    }
}

/// Writes a line into the events, beside the task: a driver that is slow delays no notice.
fn write(app: &Arc<App>, note: AuditNote) {
    let app = Arc::clone(app);
    tokio::spawn(async move { put_down(&app.handle, note).await });
}

/// The line of the events, if it is not written elsewhere.
fn line(tiding: &Tiding, state: &State) -> Option<AuditNote> {
    let note = match tiding {
        Tiding::EtcdBack { .. } | Tiding::EtcdLost { .. } => return None,
        Tiding::NodeBack { node, lost, .. } => AuditNote {
            action: "cluster_node_back",
            subject: name(node, state),
            note: format!("lost {lost}"),
            ..AuditNote::default()
        },
        Tiding::NodeLost { node, since, .. } => AuditNote {
            action: "cluster_node_lost",
            subject: name(node, state),
            note: format!("since {since}"),
            ..AuditNote::default()
        },
    };
    Some(note)
}

/// What people call a node.
fn name(id: &NodeId, state: &State) -> String {
    let member = state.contents.members.get(id).map(|member| member.name.as_str());
    member.filter(|name| !name.is_empty()).map_or_else(|| id.to_string(), str::to_owned)
}

/// A moment as people read it: `2026-11-21 12:00:05 UTC`.
fn moment(at: Utc) -> String {
    let text = at.to_string();
    format!("{} UTC", text.get(..19).unwrap_or(&text).replace('T', " "))
}

fn notice(tiding: &Tiding, state: &State) -> Notice {
    let me = name(&state.me, state);
    let (kind, russian, english, details) = match tiding {
        Tiding::EtcdBack { lost, back } => {
            let (from, to) = (moment(*lost), moment(*back));
            (
                Kind::EtcdBack,
                format!("Узел {me} снова на связи с etcd с {to}; связи не было с {from}."),
                format!(
                    "Node {me} is in touch with etcd again since {to}; it was not since {from}."
                ),
                json!({"Node": me, "Lost": lost, "Back": back}),
            )
        }
        Tiding::EtcdLost { since, hold_until, problem } => {
            let (russian, english) = etcd_lost(&me, *since, *hold_until, problem.as_deref());
            let details =
                json!({"Node": me, "Since": since, "HoldUntil": hold_until, "Problem": problem});
            (Kind::EtcdLost, russian, english, details)
        }
        Tiding::NodeBack { node, lost, back } => {
            let (who, from, to) = (name(node, state), moment(*lost), moment(*back));
            (
                Kind::NodeBack,
                format!(
                    "Узел {who} снова в кластере с {to}; его не было с {from}. Сообщает узел {me}."
                ),
                format!(
                    "Node {who} is back in the cluster since {to}; it was gone since {from}. Node {me} \
                     tells it."
                ),
                json!({"Node": who, "Lost": lost, "Back": back, "ToldBy": me}),
            )
        }
        Tiding::NodeLost { node, since, is_death } => {
            let who = name(node, state);
            let (russian, english) = node_lost(&me, &who, *since, *is_death);
            let details = json!({"Node": who, "Since": since, "ToldBy": me});
            (Kind::NodeLost, russian, english, details)
        }
    };
    Notice { kind, series: None, key_no: None, russian, english, details }
}

fn node_lost(me: &str, who: &str, since: Utc, is_death: bool) -> (String, String) {
    let from = moment(since);
    if is_death {
        (
            format!(
                "Узел {who} пропал из кластера с {from}, не остановленный командой: он не работает \
                 или отрезан от etcd. Его места оставлены за его сеансами, новые лицензии выдают \
                 остальные узлы. Сообщает узел {me}."
            ),
            format!(
                "Node {who} is gone from the cluster since {from} without having been stopped: it is \
                 down or cut off from etcd. Its seats are kept for its sessions, the other nodes \
                 grant. Node {me} tells it."
            ),
        )
    } else {
        (
            format!(
                "Узла {who} нет в кластере, по крайней мере с {from}. Остановлен ли он командой, \
                 отсюда не видно: возможно, он не работает или отрезан от etcd. Новые лицензии \
                 выдают остальные узлы. Сообщает узел {me}."
            ),
            format!(
                "Node {who} is not in the cluster, at least since {from}. Whether it was stopped \
                 cannot be seen from here: it may be down or cut off from etcd. The other nodes \
                 grant. Node {me} tells it."
            ),
        )
    }
}

fn etcd_lost(
    me: &str,
    since: Utc,
    hold_until: Option<Utc>,
    problem: Option<&str>,
) -> (String, String) {
    let from = moment(since);
    let (mut russian, mut english) = if problem.is_some() {
        (
            format!(
                "Узел {me} без связи с etcd с {from}: etcd не отвечает или не имеет большинства."
            ),
            format!(
                "Node {me} has been out of touch with etcd since {from}: etcd does not answer or has no \
                 majority."
            ),
        )
    } else {
        (
            format!(
                "Узел {me} не входит в кластер с {from}, хотя etcd отвечает; подробности в логе и в \
                 licenceserver cluster status."
            ),
            format!(
                "Node {me} has not been part of its cluster since {from}, although etcd answers; the log \
                 and `licenceserver cluster status` know more."
            ),
        )
    };
    russian += " Новых лицензий кластера он не выдаёт.";
    english += " It gives out no seats of the cluster.";
    if let Some(until) = hold_until {
        let until = moment(until);
        russian += &format!(
            " Начатые сеансы продлеваются до {until}, затем доживают на своих арендах, до 17 минут."
        );
        english += &format!(
            " Sessions that have begun are renewed until {until}, and then live on their leases, up to \
             17 minutes."
        );
    } else {
        russian += " Начатые сеансы не продлеваются, пока связь не вернётся.";
        english += " Sessions that have begun are not renewed until it is back.";
    }
    if let Some(problem) = problem {
        russian += &format!(" Последний ответ: {problem}.");
        english += &format!(" The last answer: {problem}.");
    }
    (russian, english)
}

#[cfg(test)]
mod tests {
    use super::*;
    use licence_core::cluster::{ClusterId, Standing};

    fn utc(text: &str) -> Utc {
        text.parse().unwrap()
    }

    fn told(tiding: &Tiding) -> Notice {
        let state = State {
            cluster: ClusterId::from_bytes([1; 16]),
            me: NodeId::from_bytes([0; 32]),
            standing: Standing::Joined,
            contents: Arc::default(),
            answered: None,
            renewal_millis: None,
            problem: None,
        };
        notice(tiding, &state)
    }

    #[test]
    fn loss_of_etcd_says_since_when_and_until_when_sessions_go_on() {
        let since = utc("2026-11-21T12:00:05.250Z");
        let until = utc("2026-11-21T13:00:05.250Z");
        let problem = Some("etcd1:2379 has no leader".to_owned());
        for (hold_until, problem, russian, english) in [
            (
                Some(until),
                problem.clone(),
                ["не отвечает или не имеет большинства", "до 2026-11-21 13:00:05 UTC"],
                ["does not answer or has no majority", "until 2026-11-21 13:00:05 UTC"],
            ),
            (None, problem, ["не продлеваются", "has no leader."], ["not renewed", "no leader."]),
            (None, None, ["хотя etcd отвечает", "не продлеваются"], ["although", "not renewed"]),
        ] {
            let told = told(&Tiding::EtcdLost { since, hold_until, problem });
            assert_eq!(told.kind, Kind::EtcdLost);
            for text in [&told.russian, &told.english] {
                assert!(text.contains("2026-11-21 12:00:05 UTC"), "{text}");
            }
            for (text, parts) in [(&told.russian, russian), (&told.english, english)] {
                assert!(parts.iter().all(|part| text.contains(part)), "{parts:?}: {text}");
            }
        }
    }

    #[test]
    fn loss_of_a_node_names_it_and_who_tells() {
        let node = NodeId::from_bytes([9; 32]);
        let (lost, back) = (utc("2026-11-21T12:00:05Z"), utc("2026-11-21T14:00:00Z"));
        for (tiding, kind, action) in [
            (
                Tiding::NodeLost { node, since: lost, is_death: true },
                Kind::NodeLost,
                "cluster_node_lost",
            ),
            (
                Tiding::NodeLost { node, since: lost, is_death: false },
                Kind::NodeLost,
                "cluster_node_lost",
            ),
            (Tiding::NodeBack { node, lost, back }, Kind::NodeBack, "cluster_node_back"),
        ] {
            let told = told(&tiding);
            assert_eq!(told.kind, kind);
            assert_eq!(told.details["Node"], node.to_string());
            assert_eq!(told.details["ToldBy"], NodeId::from_bytes([0; 32]).to_string());
            for text in [&told.russian, &told.english] {
                assert!(text.contains(&node.to_string()) && text.contains("12:00:05"), "{text}");
            }
            let state = State {
                cluster: ClusterId::from_bytes([1; 16]),
                me: node,
                standing: Standing::Joined,
                contents: Arc::default(),
                answered: None,
                renewal_millis: None,
                problem: None,
            };
            assert_eq!(line(&tiding, &state).unwrap().action, action);
        }
    }
}
