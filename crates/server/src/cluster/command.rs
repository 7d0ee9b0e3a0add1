//! `licenceserver cluster`: makes a cluster, joins and leaves it, says that a node is down for good,
//! and shows how it stands.
//!
//! Speaks to etcd, to the conf file and to the file of the rules, never to a running server: what it
//! changes there, a server takes up at its next start.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use licence_core::causes::with_causes;
use licence_core::cluster::record::Settings as Shared;
use licence_core::cluster::shared::{SharedCodes, SharedName, SharedRules, SharedValue, Written};
use licence_core::cluster::{ClusterId, Compare, NodeId, Op, Txn, TxnOutcome};
use licence_core::key::KeyNo;
use licence_core::language::Language;

use super::etcd::{Etcd, EtcdError, TlsError};
use super::known_codes::{KnownCodes, Remembered};
use super::picture::{Contents, Picture};
use super::shared::digests_of;
use super::taking_out::taking_out;
use super::words;
use crate::access::Actor;
use crate::api::errors::ApiError;
use crate::cli::{self, ClusterAction, ClusterOptions};
use crate::clock;
use crate::config::{ClusterSettings, Config, ConfigError};
use crate::host::HostFacts;
use crate::identity::{self, IdentityError};
use crate::paths::Paths;
use crate::random::{self, RandomError};
use crate::rules_file::{self, RulesFile, RulesFileError};
use crate::settings::{Edit, Settings};
use crate::store::lock::{DataLock, LockError};

/// How often a transaction is tried that loses against another one.
const TRIES: usize = 20;

/// Why nothing was done, or not all.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    #[error("the settings cannot be used")]
    Config(#[from] ConfigError),
    #[error("{0}")]
    Etcd(String),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("{0}")]
    Lock(#[from] LockError),
    #[error("no id can be drawn")]
    Random(#[from] RandomError),
    #[error("reading {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Said in the language of the command.
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Rules(#[from] RulesFileError),
    #[error("no runtime")]
    Runtime(#[source] io::Error),
    #[error("TLS to etcd cannot be set up")]
    Tls(#[from] TlsError),
}

/// Runs the command. 0 when it was done; for `status` when every node and every member of etcd is
/// well; else 1.
pub fn main(options: &ClusterOptions) -> ExitCode {
    let language = cli::language(options.lang);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = runtime
        .map_err(CommandError::Runtime)
        .and_then(|runtime| runtime.block_on(Command::new(options, language)?.run()));
    match outcome {
        Ok((text, is_well)) => {
            let written = io::stdout().write_all(text.as_bytes());
            if written.is_ok() && is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            // Standard error may be closed; the exit code tells all the same.
            drop(writeln!(io::stderr(), "licenceserver: {}", with_causes(&error)));
            ExitCode::FAILURE
        }
    }
}

struct Command<'a> {
    options: &'a ClusterOptions,
    language: Language,
    paths: Paths,
    config: Config,
    /// What the file would hold with what the command line names.
    cluster: ClusterSettings,
    edits: Vec<Edit>,
}

type Done = Result<(String, bool), CommandError>;

impl<'a> Command<'a> {
    fn new(options: &'a ClusterOptions, language: Language) -> Result<Self, CommandError> {
        let base = std::path::absolute(&options.base).unwrap_or_else(|_| options.base.clone());
        let paths = Paths::new(base);
        let config = Config::load(&paths.conf())?;
        let edits = edits(options)?;
        // Checked by the rules of the file before anything is done elsewhere.
        let refused = |error: ApiError| CommandError::Refused(error.body(language).message);
        let previewed = Settings::new(paths.conf(), config.clone()).preview(&edits);
        let cluster = previewed.map_err(refused)?.cluster;
        Ok(Self { options, language, paths, config, cluster, edits })
    }

    async fn run(self) -> Done {
        match &self.options.action {
            ClusterAction::Init { isolation } => self.init(*isolation).await,
            ClusterAction::Join { id } => self.join(*id).await,
            ClusterAction::Leave { now } => self.leave(*now).await,
            ClusterAction::Forget { node, yes } => self.forget(node, *yes).await,
            ClusterAction::Status { json } => self.status(*json).await,
        }
    }

    fn say(&self, russian: &str, english: &str) -> String {
        self.language.pick(russian, english).to_owned()
    }

    fn refuse<T>(&self, russian: &str, english: &str) -> Result<T, CommandError> {
        Err(CommandError::Refused(self.say(russian, english)))
    }

    fn etcd(&self, id: ClusterId) -> Result<Etcd, CommandError> {
        if self.cluster.endpoints.is_empty() {
            return self.refuse(
                "не заданы адреса etcd: укажите --endpoints или [Cluster] Endpoints в файле настроек",
                "no address of etcd is known: name --endpoints, or [Cluster] Endpoints in the conf file",
            );
        }
        Ok(Etcd::new(&self.cluster.etcd(&self.paths.settings()), &id.prefix())?)
    }

    fn told(&self, error: &EtcdError) -> CommandError {
        CommandError::Etcd(error.text(self.language))
    }

    async fn contents(&self, etcd: &Etcd) -> Result<Contents, CommandError> {
        let loaded = etcd.range("").await.map_err(|error| self.told(&error))?;
        Ok(Contents::of(&loaded.entries))
    }

    /// Writes the section `[Cluster]`.
    fn keep(&self, more: Vec<Edit>) -> Result<(), CommandError> {
        let edits: Vec<Edit> = self.edits.iter().cloned().chain(more).collect();
        let settings = Settings::new(self.paths.conf(), self.config.clone());
        let refused = |error: ApiError| CommandError::Refused(error.body(self.language).message);
        settings.change(&edits, &Actor::server()).map(drop).map_err(refused)
    }

    fn standing_alone(&self) -> Result<(), CommandError> {
        if self.config.cluster.id.is_some() {
            return self.refuse(
                "этот сервер уже узел кластера: сначала выполните licenceserver cluster leave",
                "this server is a node of a cluster already: say `licenceserver cluster leave` first",
            );
        }
        Ok(())
    }

    async fn init(self, isolation: Option<u32>) -> Done {
        self.standing_alone()?;
        let id = ClusterId::from_bytes(random::id_bytes()?);
        let etcd = self.etcd(id)?;
        let mut shared = Shared::new(clock::utc());
        if let Some(secs) = isolation {
            shared.isolation_secs = secs;
        }
        let own = self.own_shared()?;
        let key = "settings".to_owned();
        let mut txn = Txn {
            compare: vec![Compare::Created { key: key.clone(), revision: 0 }],
            then: vec![Op::Put { key, value: shared.write(), lease: None }],
        };
        let values = [(SharedName::Rules, own.0.write()), (SharedName::AccessCodes, own.1.write())];
        for (name, value) in values {
            let Some(value) = value else {
                return self.refuse(
                    "правила или коды доступа этого сервера длиннее, чем могут разделить узлы",
                    "the rules or access codes of this server are longer than what nodes may share",
                );
            };
            txn.then.push(Op::Put { key: name.key().to_owned(), value, lease: None });
        }
        match etcd.txn(&txn).await.map_err(|error| self.told(&error))? {
            TxnOutcome::Succeeded { .. } => {}
            TxnOutcome::Failed | TxnOutcome::Unknown => {
                return self.refuse(
                    "etcd не подтвердил запись; повторите команду, она создаст другой кластер",
                    "etcd did not confirm what was written; run the command again, it makes another \
                     cluster",
                );
            }
        }
        self.keep(vec![Edit::set("Cluster", "Id", id.to_string())])?;
        let codes = Some(own.1.codes.clone());
        self.known_codes().write(&Remembered { cluster: id, has_rules: true, codes });
        let text = self.say(
            "Кластер {id} создан, файл настроек дополнен. Перезапустите сервер, чтобы он стал первым \
             узлом. Его правила ({rules}) и коды доступа ({codes}) стали общими для всех узлов. На других \
             узлах: licenceserver cluster join {id} --endpoints …\n",
            "Cluster {id} is made, and the conf file names it. Restart the server: it becomes the \
             first node. Its rules ({rules}) and access codes ({codes}) are those of all nodes. On the \
             other nodes: licenceserver cluster join {id} --endpoints …\n",
        );
        let (rules, codes) = (own.0.rules.set().rules.len(), own.1.codes.len());
        let text = text.replace("{rules}", &rules.to_string());
        Ok((text.replace("{codes}", &codes.to_string()).replace("{id}", &id.to_string()), true))
    }

    async fn join(self, id: ClusterId) -> Done {
        self.standing_alone()?;
        let contents = self.contents(&self.etcd(id)?).await?;
        if contents.settings.is_none() {
            return self.refuse(
                "в etcd по этим адресам нет такого кластера: проверьте номер, адреса и права",
                "etcd knows no such cluster at these addresses: check the id, the addresses and the \
                 rights",
            );
        }
        if let Some((key, why)) = contents.damaged.iter().find(|(key, _)| {
            // A node that took nothing over would grant by rules that are not the cluster's.
            SharedName::parse(key).is_some()
        }) {
            let text = self.say(
                "общие записи кластера в etcd не читаются, сначала исправьте их",
                "what the nodes share cannot be read in etcd; set it right first",
            );
            return Err(CommandError::Refused(format!("{text}: {key}: {why}")));
        }
        self.keep(vec![Edit::set("Cluster", "Id", id.to_string())])?;
        let taken = self.take_over(id, &contents);
        let text = self.say(
            "Файл настроек дополнен. Перезапустите сервер: он станет узлом кластера {id}. Лицензии \
             кластера активируйте и на нём тем же кодом.\n",
            "The conf file names the cluster. Restart the server: it becomes a node of {id}. \
             Activate the licences of the cluster on it too, by the same code.\n",
        );
        Ok((text.replace("{id}", &id.to_string()) + &taken, true))
    }

    const fn own_codes(&self) -> &BTreeMap<KeyNo, String> {
        &self.config.access_codes
    }

    fn known_codes(&self) -> KnownCodes {
        KnownCodes::new(self.paths.cluster_codes())
    }

    /// The rules and access codes of this server, as the cluster's.
    fn own_shared(&self) -> Result<(SharedRules, SharedCodes), CommandError> {
        let name = self.cluster.name.clone();
        let name = name.unwrap_or_else(|| HostFacts::read(&[]).computer_name);
        let written = Written::new(&name, "", clock::utc());
        let rules = rules_file::read(&self.paths.rules())?;
        let codes = digests_of(self.own_codes())?;
        Ok((SharedRules { written: written.clone(), rules }, SharedCodes { written, codes }))
    }

    /// Takes over what the nodes share, so that it counts from the first start on, and says what was
    /// done. What cannot be written is taken over when the node is in touch with etcd.
    fn take_over(&self, id: ClusterId, contents: &Contents) -> String {
        let mut text = String::new();
        if let Some((shared, _)) = contents.shared.rules.counting() {
            let path = self.paths.rules();
            let set = shared.rules.set();
            let taken = if rules_file::holds(&path, set) {
                Ok(None)
            } else {
                let kept = rules_file::keep_former(&path).map_err(|error| error.to_string());
                kept.and_then(|kept| {
                    let written = RulesFile::open(path.clone()).0.write(set);
                    written.map(|()| kept).map_err(|error| with_causes(&error))
                })
            };
            let count = set.rules.len().to_string();
            text += &match taken {
                Ok(kept) => {
                    let mut said = self
                        .say(
                            "Действуют правила кластера: {count}.",
                            "The rules of the cluster are in force: {count}.",
                        )
                        .replace("{count}", &count);
                    if let Some(kept) = kept {
                        said += &self
                            .say(
                                " Прежние правила этого сервера сохранены в файле {path}.",
                                " The former rules of this server are kept as {path}.",
                            )
                            .replace("{path}", &kept.display().to_string());
                    }
                    said + "\n"
                }
                Err(why) => {
                    let said = self.say(
                        "Правила кластера не записаны, сервер возьмёт их из etcd при запуске: ",
                        "The rules of the cluster were not written, the server takes them from etcd \
                         when it starts: ",
                    );
                    return said + &why + "\n";
                }
            };
        }
        let codes = contents.shared.codes.counting().map(|(shared, _)| shared.codes.clone());
        let (own, is_shared) = (self.own_codes().len(), codes.is_some());
        let has_rules = contents.shared.rules.counting().is_some();
        self.known_codes().write(&Remembered { cluster: id, has_rules, codes });
        if own > 0 && is_shared {
            text += &self
                .say(
                    "Коды доступа из [AccessCodes] этого сервера ({count}) в кластере не действуют: \
                     действуют общие.\n",
                    "Access codes in [AccessCodes] of this server ({count}) do not count in the \
                     cluster: those of all nodes do.\n",
                )
                .replace("{count}", &own.to_string());
        }
        text
    }

    fn own_id(&self) -> Result<ClusterId, CommandError> {
        self.config.cluster.id.map_or_else(
            || self.refuse("этот сервер не узел кластера", "this server is no node of a cluster"),
            Ok,
        )
    }

    /// This node, if its identity was made already.
    fn me(&self) -> Result<Option<NodeId>, CommandError> {
        let file = self.paths.identity();
        if !file.exists() {
            return Ok(None);
        }
        Ok(Some(NodeId::of(&identity::public_in(&file)?)))
    }

    async fn leave(self, at_once: bool) -> Done {
        let id = self.own_id()?;
        let _lock = DataLock::take(&self.paths.database())?;
        let etcd = self.etcd(id)?;
        let mut kept = 0;
        if let Some(me) = self.me()? {
            kept = self.take_out(&etcd, me, at_once).await?;
        }
        self.keep(vec![Edit::remove("Cluster", "Id")])?;
        self.known_codes().remove();
        let mut text = self.say(
            "Сервер больше не узел кластера {id}. Его лицензии кластера здесь больше не действуют. \
             Правила остались теми, что были в кластере; коды доступа – снова из [AccessCodes].\n",
            "The server is no node of the cluster {id} any longer. Its licences of the cluster count \
             here no more. Its rules stay those of the cluster; access codes are those in \
             [AccessCodes] again.\n",
        );
        if kept > 0 {
            text += &self.say(
                "Мест, оставленных за его сеансами: {kept}. Их займут эти сеансы на других узлах, \
                 остальные вернутся сами; чтобы вернуть их сразу, укажите --now.\n",
                "Seats kept for its sessions: {kept}. These take them at other nodes, the rest comes \
                 back by itself; with --now they come back at once.\n",
            );
        }
        Ok((text.replace("{id}", &id.to_string()).replace("{kept}", &kept.to_string()), true))
    }

    async fn forget(self, name: &str, yes: bool) -> Done {
        let id = self.own_id()?;
        let etcd = self.etcd(id)?;
        let contents = self.contents(&etcd).await?;
        let Some(node) = contents.named(name).or_else(|| contents.former(name)) else {
            return self.refuse(
                "такого узла нет, или узлов с таким именем несколько; имена показывает licenceserver \
                 cluster status",
                "there is no such node, or more than one has this name; `licenceserver cluster \
                 status` shows the names",
            );
        };
        if Some(node) == self.me()? {
            return self.refuse(
                "это сам этот сервер: выполните licenceserver cluster leave",
                "this is this very server: say `licenceserver cluster leave`",
            );
        }
        if !yes {
            return self.refuse(
                "места узла сразу достанутся другим. Если он на самом деле работает и лишь не видит \
                 etcd, лицензий будет занято больше, чем есть. Убедитесь, что он выключен, и добавьте \
                 --yes",
                "the seats of the node go to others at once. If it is running after all and merely \
                 does not see etcd, more seats would be held than there are. Make sure that it is \
                 down, and add --yes",
            );
        }
        self.take_out(&etcd, node, true).await?;
        let text = self.say(
            "Узел исключён, его места свободны.\n",
            "The node is no member any longer, and its seats are free.\n",
        );
        Ok((text, true))
    }

    /// Takes a node that does not live out of the cluster; how many seats stay with its sessions.
    async fn take_out(
        &self,
        etcd: &Etcd,
        node: NodeId,
        at_once: bool,
    ) -> Result<u64, CommandError> {
        for _ in 0..TRIES {
            let contents = self.contents(etcd).await?;
            if contents.alive.contains_key(&node) {
                return self.refuse(
                    "узел ещё на связи с etcd: остановите его сервер и повторите через несколько секунд",
                    "the node is still in touch with etcd: stop its server and try again in some \
                     seconds",
                );
            }
            let (txn, kept) = taking_out(&contents, node, at_once);
            match etcd.txn(&txn).await.map_err(|error| self.told(&error))? {
                TxnOutcome::Succeeded { .. } => return Ok(kept),
                // Somebody else has changed a pool meanwhile, or the answer was lost: look again.
                TxnOutcome::Failed | TxnOutcome::Unknown => {}
            }
        }
        self.refuse(
            "другие узлы всё время меняют те же записи; повторите команду",
            "other nodes keep changing the same records; run the command again",
        )
    }

    async fn status(self, json: bool) -> Done {
        let id = self.own_id()?;
        let etcd = self.etcd(id)?;
        let found = etcd.status().await;
        let is_well = found.iter().all(|one| one.answer.is_ok());
        let contents = match self.contents(&etcd).await {
            Ok(contents) => contents,
            Err(error) if found.iter().all(|one| one.answer.is_err()) => return Err(error),
            Err(error) => {
                // Some members answer, but not together: no majority.
                let picture = Picture::new(id, self.me()?, &Contents::default()).with_etcd(found);
                let text = words::status(&picture, self.language);
                return Ok((format!("{text}\n{}\n", with_causes(&error)), false));
            }
        };
        let picture = Picture::new(id, self.me()?, &contents).with_etcd(found);
        let is_well = is_well && picture.is_well();
        let text = if json {
            serde_json::to_string_pretty(&picture).unwrap_or_default() + "\n"
        } else {
            words::status(&picture, self.language)
        };
        Ok((text, is_well))
    }
}

/// What the command line says of `[Cluster]`.
fn edits(options: &ClusterOptions) -> Result<Vec<Edit>, CommandError> {
    let password = match &options.password_file {
        Some(path) => {
            let failed = |source| CommandError::Read { path: path.clone(), source };
            let text = std::fs::read_to_string(path).map_err(failed)?;
            Some(text.lines().next().unwrap_or_default().to_owned())
        }
        None => None,
    };
    let file = |path: &Option<PathBuf>| {
        let full =
            path.as_ref().map(|path| std::path::absolute(path).unwrap_or_else(|_| path.clone()));
        full.map(|path| path.to_string_lossy().into_owned())
    };
    let named = [
        ("Endpoints", options.endpoints.clone()),
        ("CA", file(&options.ca)),
        ("Certificate", file(&options.certificate)),
        ("Key", file(&options.key)),
        ("User", options.user.clone()),
        ("Password", password),
        ("Name", options.name.clone()),
        ("Addresses", options.addresses.clone()),
    ];
    let set = |(key, value): (&str, Option<String>)| Some(Edit::set("Cluster", key, value?));
    Ok(named.into_iter().filter_map(set).collect())
}
