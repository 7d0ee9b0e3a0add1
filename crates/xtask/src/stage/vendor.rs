//! The vendor on the stage: a series made by `licencekit`, a running `licencecentre`, orders.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{
    Launch, PRODUCT, Process, Rest, SERIES, START_BOUND, Stage, StageError, copy_file, make_folder,
    port_of, program, write_file,
};

/// Passphrase of the stage's secret key. It protects nothing: the series lives as long as the
/// stage.
const PASSPHRASE: &str = "passphrase of a stage, not a secret";

/// The vendor.
#[derive(Debug)]
pub struct Vendor {
    kit: PathBuf,
    folder: PathBuf,
    centre: Process,
    address: &'static str,
    port: u16,
}

/// Where a centre listens unless it is told otherwise.
const LOCAL: &str = "127.0.0.1";

/// What a customer bought.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    /// `main`, `additional` or `demo`.
    pub kind: &'static str,
    /// Seats of the key.
    pub seats: u32,
}

impl Vendor {
    /// Makes a series and starts a centre for it.
    ///
    /// # Errors
    ///
    /// When a program is missing or does not do its part.
    pub fn start(stage: &Stage) -> Result<Self, StageError> {
        Self::start_with(stage, &[])
    }

    /// The same, with the centre started in a certain way.
    ///
    /// # Errors
    ///
    /// As [`Self::start`].
    pub fn start_as(stage: &Stage, launch: &Launch) -> Result<Self, StageError> {
        Self::make(stage, &[], launch, LOCAL)
    }

    /// Makes the series and further ones, each with the name of its product, and starts a centre
    /// for all of them.
    ///
    /// # Errors
    ///
    /// When a program is missing or does not do its part.
    pub fn start_with(stage: &Stage, more: &[(&str, &str)]) -> Result<Self, StageError> {
        Self::make(stage, more, &Launch::default(), LOCAL)
    }

    /// A series and a centre for it that computers of the stage's networks reach too.
    ///
    /// # Errors
    ///
    /// As [`Self::start`].
    pub fn start_open(stage: &Stage) -> Result<Self, StageError> {
        Self::make(stage, &[], &Launch::default(), "0.0.0.0")
    }

    fn make(
        stage: &Stage,
        more: &[(&str, &str)],
        launch: &Launch,
        address: &'static str,
    ) -> Result<Self, StageError> {
        let kit = stage.bins().file("licencekit")?;
        let folder = stage.root().join("vendor");
        let keys = folder.join("series");
        make_folder(&folder)?;
        let passphrase = folder.join("passphrase");
        write_file(&passphrase, PASSPHRASE)?;
        for (series, name) in std::iter::once(&(SERIES, PRODUCT)).chain(more) {
            let mut create = program(&kit);
            create.args(["series", "create", "--series", series, "--name", name, "--out"]);
            create.arg(&keys).arg("--passphrase-file").arg(&passphrase);
            stage.run("licencekit series create", create)?;
        }
        let (centre, port) = run_centre(stage, &folder, address, 0, launch)?;
        Ok(Self { kit, folder, centre, address, port })
    }

    /// Starts the centre again on the same books and port, after it was killed or stopped.
    ///
    /// # Errors
    ///
    /// When it does not come up.
    pub fn restart(&mut self, stage: &Stage, launch: &Launch) -> Result<(), StageError> {
        (self.centre, self.port) =
            run_centre(stage, &self.folder, self.address, self.port, launch)?;
        Ok(())
    }

    /// The centre's REST API with the rights of its administrator.
    ///
    /// # Errors
    ///
    /// When the token cannot be read.
    pub fn rest(&self) -> Result<Rest, StageError> {
        let file = self.token_file();
        let token = std::fs::read_to_string(&file).map_err(|why| StageError::io(&file, why))?;
        Ok(Rest::bearing(self.port, token.trim()))
    }

    /// The centre as those see it who have no account there.
    pub fn visitor(&self) -> Rest {
        Rest::visiting(self.port)
    }

    /// The file with the token of the centre's administrator.
    pub fn token_file(&self) -> PathBuf {
        self.folder.join("admin.token")
    }

    /// Its port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Address of the centre.
    pub fn centre_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The public series file.
    pub fn series_file(&self) -> PathBuf {
        self.series_file_of(SERIES)
    }

    /// The public file of one of its series.
    pub fn series_file_of(&self, series: &str) -> PathBuf {
        self.folder.join("series").join(format!("{series}.series"))
    }

    /// The centre's process.
    pub const fn centre(&mut self) -> &mut Process {
        &mut self.centre
    }

    /// Takes an order for one key and gives its activation code.
    ///
    /// # Errors
    ///
    /// When `licencekit` or the centre refuses it.
    pub fn order(&self, stage: &Stage, order: Order) -> Result<String, StageError> {
        self.order_of(stage, SERIES, order, &[])
    }

    /// Takes an order for one key of a series, with further arguments of `licencekit order add`,
    /// and gives its activation code.
    ///
    /// # Errors
    ///
    /// As [`Self::order`].
    pub fn order_of(
        &self,
        stage: &Stage,
        series: &str,
        order: Order,
        more: &[&str],
    ) -> Result<String, StageError> {
        let mut command = self.kit(&["order", "add", "--centre", &self.centre_url()]);
        command.arg("--token-file").arg(self.token_file());
        command.args(["--series", series, "--kind", order.kind, "--seats"]);
        command.arg(order.seats.to_string()).args(more);
        let printed = stage.run("licencekit order add", command)?;
        match printed.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>()[..]
        {
            [code] => Ok(code.to_owned()),
            _ => Err(StageError::failed(format!("not one activation code: {printed:?}"))),
        }
    }

    /// Puts the public series file where a program looks for it.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn publish_series(&self, to: &Path) -> Result<(), StageError> {
        copy_file(&self.series_file(), to)
    }

    /// The secret file of one of its series; [`Self::passphrase_file`] opens it.
    pub fn cryptkey_of(&self, series: &str) -> PathBuf {
        self.folder.join("series").join(format!("{series}.cryptkey"))
    }

    /// The file with the passphrase of its secret files.
    pub fn passphrase_file(&self) -> PathBuf {
        self.folder.join("passphrase")
    }

    /// Packs files into a data file of a series, with further arguments of `licencekit datafile
    /// pack`, and gives its bytes.
    ///
    /// # Errors
    ///
    /// When `licencekit` refuses.
    pub fn pack(
        &self,
        stage: &Stage,
        series: &str,
        sources: &[&Path],
        more: &[&str],
    ) -> Result<Vec<u8>, StageError> {
        let packed = stage.root().join("packed.datafile");
        let mut command = self.kit(&["datafile", "pack"]);
        command.arg(&packed).args(sources).arg("--cryptkey").arg(self.cryptkey_of(series));
        command.args(["--series", series, "--encoding", "utf8", "-y", "--passphrase-file"]);
        command.arg(self.passphrase_file()).args(more);
        stage.run("licencekit datafile pack", command)?;
        std::fs::read(&packed).map_err(|why| StageError::io(&packed, why))
    }

    /// Carries a request file to the centre and gives the answer file.
    ///
    /// # Errors
    ///
    /// When `licencekit` or the centre refuses it.
    pub fn answer(&self, stage: &Stage, request: &str) -> Result<String, StageError> {
        let (file, answer) =
            (stage.root().join("carried.request"), stage.root().join("carried.answer"));
        write_file(&file, request)?;
        let mut command = self.kit(&["request", "answer", "--centre", &self.centre_url()]);
        command.arg(&file).arg("-o").arg(&answer);
        stage.run("licencekit request answer", command)?;
        let text = std::fs::read_to_string(&answer).map_err(|why| StageError::io(&answer, why))?;
        std::fs::remove_file(&answer).map_err(|why| StageError::io(&answer, why))?;
        Ok(text)
    }

    /// A call of `licencekit`.
    pub fn kit(&self, arguments: &[&str]) -> Command {
        let mut command = program(&self.kit);
        command.args(arguments);
        command
    }
}

fn run_centre(
    stage: &Stage,
    folder: &Path,
    address: &str,
    port: u16,
    launch: &Launch,
) -> Result<(Process, u16), StageError> {
    let mut run = launch.command(&stage.bins().file("licencecentre")?);
    run.args(["run", "--port", &port.to_string(), "--address", address, "--data"]).arg(folder);
    run.arg("--passphrase-file").arg(folder.join("passphrase"));
    let centre = stage.start("licencecentre", run)?;
    let port = port_of(&centre.line_with("listens on", START_BOUND)?)?;
    Ok((centre, port))
}
