//! `overread check`: is everything as it should be? All errors at once, before the node starts.

use std::fmt::Display;

use super::{Caller, WithConfig, echo, exit, print};
use crate::association::Timers;
use crate::association::requestor::PeerAddress;
use crate::completeness::routing::orders;
use crate::config::{Inspected, Peer};
use crate::dicom::status::Status;
use crate::inference::device::DeviceChoice;
use crate::inference::engine::{Engine, cuda, libtorch_folder, limit_memory};
use crate::inference::manifest::Manifest;
use crate::inference::package::{Packages, VerifiedModel, packages_with};

/// Checks the configuration, the model packages, the device and the peers.
pub(super) async fn check(arguments: WithConfig) -> u8 {
    let mut errors = Errors(0);
    let libtorch = libtorch_folder().map_or_else(|| "not found".to_owned(), |folder| folder.display().to_string());
    print(format_args!("ok      libtorch in {libtorch}; {}", cuda()));
    match Inspected::load(&arguments.config) {
        Ok(configuration) => {
            configuration.errors.iter().for_each(|error| errors.say(error));
            if configuration.errors.is_empty() {
                let (file, title) = (arguments.config.display(), &configuration.config.node.ae_title);
                print(format_args!("ok      {file}: AE title {title}"));
            }
            check_models(&configuration, &mut errors).await;
            for peer in &configuration.config.peers {
                check_peer(&configuration, peer, &mut errors).await;
            }
        }
        Err(faults) => faults.iter().for_each(|error| errors.say(error)),
    }
    errors.conclude()
}

/// How many there are so far.
struct Errors(usize);

impl Errors {
    fn say(&mut self, error: impl Display) {
        self.0 += 1;
        print(format_args!("wrong   {error}"));
    }

    /// The last line and the exit code.
    fn conclude(&self) -> u8 {
        match self.0 {
            0 => {
                print(format_args!("everything is as it should be"));
                return exit::DONE;
            }
            1 => print(format_args!("1 error")),
            n => print(format_args!("{n} errors")),
        }
        exit::FAILED
    }
}

/// Packages, device, golden cases, and what the configuration says of models: as a node finds them, with the memory that it
/// has.
async fn check_models(configuration: &Inspected, errors: &mut Errors) {
    if configuration.is_wrong("node.models") {
        return print(format_args!("skipped models: node.models is wrong"));
    }
    let config = &configuration.config;
    let folder = &config.node.models;
    let named = config.routes.iter().map(|route| &route.model).chain(&config.jobs.per_slice).map(String::as_str);
    let Packages { models, not_installed, faults } = packages_with(folder, named).unwrap_or_else(|error| {
        errors.say(configuration.error("node.models", format!("{}: {error}", folder.display())));
        Packages::default()
    });
    faults.iter().for_each(|fault| errors.say(fault));
    for package in &not_installed {
        print(format_args!("absent  {package}"));
    }
    let installed: Vec<Manifest> = models.iter().map(|package| package.manifest().clone()).collect();
    config.node.memory_bytes.into_iter().for_each(limit_memory);
    let usable = match start(&config.node.device, models).await {
        Ok(engine) => served(&engine, errors),
        // A device that cannot be had says nothing about the packages.
        Err(error) => {
            errors.say(configuration.error("node.device", error));
            installed
        }
    };
    check_names(configuration, &usable, errors);
}

async fn start(device: &str, models: Vec<VerifiedModel>) -> Result<Engine, String> {
    let device: DeviceChoice = device.parse()?;
    let started = tokio::task::spawn_blocking(move || Engine::start(device, models)).await;
    started.map_err(|e| e.to_string())?.map_err(|e| e.to_string())
}

/// The models that the engine serves; of the others it says why not.
fn served(engine: &Engine, errors: &mut Errors) -> Vec<Manifest> {
    for (package, reason) in engine.refused() {
        let (file, name) = (package.folder().join("model.toml"), &package.manifest().name);
        errors.say(format_args!("{}: model {name}: {reason}", file.display()));
    }
    let mut served = Vec::new();
    for package in engine.served() {
        let model = package.manifest();
        let golden = if model.golden.is_some() { "golden case passed" } else { "no golden case" };
        print(format_args!("ok      model {} {}: {golden} on {}", model.name, model.version, engine.device()));
        served.push(model.clone());
    }
    served
}

/// Models that routes name must be there, and prefer some series to others where one is to be chosen; those that are to
/// score each slice must be able to as well.
fn check_names(configuration: &Inspected, usable: &[Manifest], errors: &mut Errors) {
    let model = |name: &str| usable.iter().find(|model| model.name == name);
    for route in &configuration.config.routes {
        match model(&route.model) {
            None => {
                let message = format!("there is no usable model «{}»", route.model);
                errors.say(configuration.error(&format!("{}.model", route.key), message));
            }
            Some(model) => {
                if let Err(message) = orders(route, model) {
                    errors.say(configuration.error(&format!("{}.series", route.key), message));
                }
            }
        }
    }
    for name in &configuration.config.jobs.per_slice {
        let wrong = match model(name) {
            Some(model) if model.input.per_slice().is_some() => continue,
            Some(_) => "its manifest has no [input.per_slice]",
            None => "there is no usable model of this name",
        };
        errors.say(configuration.error("jobs.per_slice", format!("«{name}»: {wrong}")));
    }
}

async fn check_peer(configuration: &Inspected, peer: &Peer, errors: &mut Errors) {
    let config = &configuration.config;
    let address = PeerAddress { ae_title: peer.ae_title.clone(), host: peer.host.clone(), port: peer.port };
    if configuration.is_wrong("node.ae_title") {
        // It may take calls of that title only.
        return print(format_args!("skipped peer {address}: not called, since node.ae_title is wrong"));
    }
    let caller = Caller { calling: config.node.ae_title.clone() };
    match echo::call(&address, &caller, &Timers::from(&config.association)).await {
        Ok((Status::SUCCESS, implementation)) => {
            print(format_args!("ok      peer {address}: answers C-ECHO ({implementation})"));
        }
        Ok((status, _)) => {
            errors.say(configuration.error(&peer.key, format!("peer {address} answers C-ECHO with {status}")));
        }
        Err(cause) => errors.say(configuration.error(&peer.key, format!("peer {address}: {cause}"))),
    }
}
