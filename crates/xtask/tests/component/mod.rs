//! What the component does on every platform that is not this computer's own: takes a seat from a real
//! server, is refused the next, opens a protected object, gives the seat back.

use std::time::Duration;

use xtask::demo::server_session;
use xtask::stage::{
    Computer, HostKind, HostProcess, Order, SERIES, Server, Stage, StageError, Vendor, wait_until,
    word,
};

/// Room for a busy machine beside a release that the server learns of at once.
pub(crate) const SETTLE_BOUND: Duration = Duration::from_secs(30);

/// Name of the protected object.
const NAME: &str = "Формула";

/// A server with one seat and one protected object, and a computer that knows it.
pub(crate) struct Site {
    pub(crate) stage: Stage,
    pub(crate) server: Server,
    pub(crate) computer: Computer,
    content: Vec<u8>,
    _vendor: Vendor,
}

impl Site {
    pub(crate) fn new() -> Self {
        let stage = Stage::temporary().unwrap();
        let vendor = Vendor::start(&stage).unwrap();
        let server = Server::start(&stage, "server", &vendor, 0).unwrap();
        server.activate(&stage, &vendor, Order { kind: "main", seats: 1 }).unwrap();
        let computer = stage.computer("computer", &vendor, &[server.port()]).unwrap();
        let content = "Процедура Тайная() Экспорт // 5f1e0c3a\n".repeat(2000).into_bytes();
        let source = stage.root().join(format!("{NAME}.epf"));
        std::fs::write(&source, &content).unwrap();
        let packed = vendor.pack(&stage, SERIES, &[&source], &[]).unwrap();
        server.put_datafile(None, &packed).unwrap();
        Self { stage, server, computer, content, _vendor: vendor }
    }

    /// Waits until no seat is held at the server.
    pub(crate) fn must_become_free(&self, bound: Duration) -> Result<(), StageError> {
        wait_until(bound, "the release at the server", || {
            Ok(self.server.rest().sessions()?.is_empty().then_some(()))
        })
    }

    /// A process with a started series.
    pub(crate) fn started(&self, name: &str, kind: &HostKind<'_>) -> HostProcess {
        let mut host = HostProcess::start_as(&self.stage, name, &self.computer, kind).unwrap();
        host.create().unwrap();
        host.start_series().unwrap().unwrap();
        host
    }

    /// Everything, from the first call to the end of the process.
    pub(crate) fn play(&self, kind: &HostKind<'_>, destructor_slots: u32, what: &str) {
        let mut host = self.started(&format!("host-{what}"), kind);
        let layout = host.command("layout").unwrap();
        assert_eq!(layout, format!("destructors {destructor_slots}"), "{what}");

        let seat = host.must_take(&server_session(1)).unwrap();
        assert!(seat.confirmed && seat.used_licence.is_some(), "{what}: {seat:?}");
        assert_eq!(self.server.rest().sessions().unwrap().len(), 1, "{what}");
        let refused = host.take(&server_session(2)).unwrap().unwrap_err();
        assert_eq!(refused.class, "EServerResult.ENoFreeLicence", "{what}: {refused:?}");

        let session = word(&serde_json::to_string(&server_session(1)).unwrap());
        host.call_truth("УстановитьСеанс", &[session]).unwrap().unwrap();
        let scratch = self.stage.root().join("Данные объекта");
        let data = host.object_data(NAME, &scratch).unwrap().unwrap();
        assert!(data == self.content, "{what}: the object is not what was packed");

        host.release(&server_session(1)).unwrap();
        self.must_become_free(SETTLE_BOUND).unwrap();
        host.destroy().unwrap();
        let answer = host.command("unload").unwrap();
        assert!(answer.ends_with("mapped=0"), "{what}: {answer}");
        host.quit().unwrap();
    }

    /// Everything that a broken host may do, in both orders of calls and with both ways of destruction.
    pub(crate) fn misuse(&self, kind: &HostKind<'_>, what: &str) {
        let name = format!("misuse-{what}");
        let mut host = HostProcess::start_as(&self.stage, &name, &self.computer, kind).unwrap();
        for (order, end) in [("platform", "destroy"), ("oscript", "delete")] {
            let lines = [
                format!("new M LicenceExtension20 order={order}"),
                "abuse M".to_owned(),
                format!("{end} M"),
            ];
            for line in lines {
                let answer = host.command(&line).unwrap();
                assert!(answer.starts_with("ok"), "{what}: {line}: {answer}");
            }
        }
        host.quit().unwrap();
    }
}
