//! A customer's licence server on the stage: started, killed, started again on the same port.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{
    Launch, Order, Process, Rest, SERIES, START_BOUND, STOP_BOUND, Stage, StageError, Vendor,
    make_folder, port_of, wait_until, write_file,
};

/// Where a server listens unless it is told otherwise.
const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A licence server.
#[derive(Debug)]
pub struct Server {
    name: String,
    data: PathBuf,
    address: IpAddr,
    port: u16,
    launch: Launch,
    process: Process,
}

impl Server {
    /// Starts a server with an empty data folder; port 0 takes any free one.
    ///
    /// # Errors
    ///
    /// When it is not built or does not say in time that it listens.
    pub fn start(
        stage: &Stage,
        name: &str,
        vendor: &Vendor,
        port: u16,
    ) -> Result<Self, StageError> {
        Self::start_as(stage, name, vendor, port, "", Launch::default())
    }

    /// The same with more lines in its conf, which begin in `[Common]`, and in a certain way, which
    /// holds for its restarts too.
    ///
    /// # Errors
    ///
    /// As [`Self::start`].
    pub fn start_as(
        stage: &Stage,
        name: &str,
        vendor: &Vendor,
        port: u16,
        conf: &str,
        launch: Launch,
    ) -> Result<Self, StageError> {
        let data = stage.root().join(name);
        let settings = data.join("3.0");
        make_folder(&settings)?;
        vendor.publish_series(&settings.join("licence.series"))?;
        let conf = format!("[Common]\nLicenceCenterUrl={}\n{conf}", vendor.centre_url());
        write_file(&settings.join("licenceserver.conf"), &conf)?;
        Self::start_in_as(stage, name, data, port, launch)
    }

    /// Starts a server on a data folder that is already there.
    ///
    /// # Errors
    ///
    /// As [`Self::start`].
    pub fn start_in(
        stage: &Stage,
        name: &str,
        data: PathBuf,
        port: u16,
    ) -> Result<Self, StageError> {
        Self::start_in_as(stage, name, data, port, Launch::default())
    }

    /// The same in a certain way.
    ///
    /// # Errors
    ///
    /// As [`Self::start`].
    pub fn start_in_as(
        stage: &Stage,
        name: &str,
        data: PathBuf,
        port: u16,
        launch: Launch,
    ) -> Result<Self, StageError> {
        Self::start_at(stage, name, data, LOCAL, port, launch)
    }

    /// The same on an address of the computer on which `launch` runs it.
    ///
    /// # Errors
    ///
    /// As [`Self::start`].
    pub fn start_at(
        stage: &Stage,
        name: &str,
        data: PathBuf,
        address: IpAddr,
        port: u16,
        launch: Launch,
    ) -> Result<Self, StageError> {
        let process = run(stage, name, &data, address, port, &launch)?;
        let port = port_of(&process.line_with("listens on", START_BOUND)?)?;
        Ok(Self { name: name.to_owned(), data, address, port, launch, process })
    }

    /// Starts a server on a data folder that it cannot use: it is closed, answers 503 to everything and
    /// tries again.
    ///
    /// # Errors
    ///
    /// When it is not built or does not say in time that it is closed.
    pub fn start_closed(
        stage: &Stage,
        name: &str,
        data: PathBuf,
        launch: Launch,
    ) -> Result<Self, StageError> {
        let mut process = run(stage, name, &data, LOCAL, 0, &launch)?;
        // Nobody is told that it is ready, as it is not; the log says where it answers.
        let log = process.stderr().to_owned();
        let port = wait_until(START_BOUND, "the closed server", || {
            if let Some(status) = process.ended()? {
                return Err(process.failed(&format!("ended with {status}")));
            }
            let text = std::fs::read_to_string(&log).map_err(|why| StageError::io(&log, why))?;
            let line = text.lines().find(|line| line.contains("closed, answering 503 on"));
            line.map(port_of).transpose()
        })?;
        Ok(Self { name: name.to_owned(), data, address: LOCAL, port, launch, process })
    }

    /// Starts it again on the same folder and port, after it was killed or stopped.
    ///
    /// # Errors
    ///
    /// As [`Self::start`].
    pub fn restart(&mut self, stage: &Stage) -> Result<(), StageError> {
        self.begin(stage)?;
        self.process.line_with("listens on", START_BOUND).map(drop)
    }

    /// The same without waiting until it listens.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn begin(&mut self, stage: &Stage) -> Result<(), StageError> {
        self.process = run(stage, &self.name, &self.data, self.address, self.port, &self.launch)?;
        Ok(())
    }

    /// Orders a key from the vendor and activates it here; gives the licence that REST answered.
    ///
    /// # Errors
    ///
    /// When the centre or the server refuses it.
    pub fn activate(
        &self,
        stage: &Stage,
        vendor: &Vendor,
        order: Order,
    ) -> Result<Value, StageError> {
        self.rest().activate(&vendor.order(stage, order)?)
    }

    /// Its REST API.
    pub fn rest(&self) -> Rest {
        Rest::at(self.address, self.port)
    }

    /// Its REST API for who gives up after so many seconds.
    pub fn hurried_rest(&self, secs: u64) -> Rest {
        Rest::hurried(self.address, self.port, secs)
    }

    /// Its address.
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// `address:port`, as components write it.
    pub fn place(&self) -> String {
        format!("{}:{}", self.address, self.port)
    }

    /// Its port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Its base folder.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The end of its standard error.
    pub fn stderr_tail(&self) -> String {
        self.process.failed("says").to_string()
    }

    /// Its process.
    pub const fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// `kill -9`.
    ///
    /// # Errors
    ///
    /// When it had ended already.
    pub fn kill(&mut self) -> Result<(), StageError> {
        self.process.kill()
    }

    /// Asks it to end and checks that it does, with exit code 0.
    ///
    /// # Errors
    ///
    /// See [`Process::stop`].
    pub fn stop(&mut self) -> Result<(), StageError> {
        self.process.stop(STOP_BOUND)
    }

    /// The folder of its keys and data files.
    pub fn keys(&self) -> PathBuf {
        self.data.join("data")
    }

    /// Gives it a data file, as an administrator does: `672B.datafile`, or `672B.Alias.datafile`.
    /// It takes its name only when it is whole.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn put_datafile(&self, alias: Option<&str>, bytes: &[u8]) -> Result<(), StageError> {
        let name = match alias {
            Some(alias) => format!("{SERIES}.{alias}.datafile"),
            None => format!("{SERIES}.datafile"),
        };
        let folder = self.keys();
        make_folder(&folder)?;
        let (part, whole) = (folder.join(format!("{name}.part")), folder.join(name));
        std::fs::write(&part, bytes).map_err(|why| StageError::io(&part, why))?;
        std::fs::rename(&part, &whole).map_err(|why| StageError::io(&whole, why))
    }

    /// The licence document of an installed software key, by its file.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn licence_file(&self) -> Result<PathBuf, StageError> {
        let folder = self.keys();
        let files = std::fs::read_dir(&folder).map_err(|why| StageError::io(&folder, why))?;
        files
            .filter_map(|file| Some(file.ok()?.path()))
            .find(|path| path.extension().is_some_and(|extension| extension == "licence"))
            .ok_or_else(|| StageError::failed(format!("no licence in {}", folder.display())))
    }
}

fn run(
    stage: &Stage,
    name: &str,
    data: &Path,
    address: IpAddr,
    port: u16,
    launch: &Launch,
) -> Result<Process, StageError> {
    let mut run = launch.command(&stage.bins().file("licenceserver")?);
    let (address, port) = (address.to_string(), port.to_string());
    run.args(["run", "--address", &address, "--port", &port, "--data"]).arg(data);
    stage.start(name, run)
}
