//! `overread check`: is everything as it should be? All errors at once, before the node starts.

use super::{Caller, WithConfig, echo, exit, print};
use crate::association::Timers;
use crate::association::requestor::PeerAddress;
use crate::config::{NodeConfig, Peer};
use crate::dicom::status::Status;
use crate::inference::device::DeviceChoice;
use crate::inference::engine::{Engine, cuda, libtorch_folder};
use crate::inference::package::{Packages, packages};

/// Checks the configuration, the model packages, the device and the peers.
pub(super) async fn check(arguments: WithConfig) -> u8 {
    let config = match NodeConfig::load(&arguments.config) {
        Ok(config) => config,
        Err(errors) => {
            for error in &errors {
                print(format_args!("wrong   {error}"));
            }
            print(format_args!("{} errors in the configuration", errors.len()));
            return exit::FAILED;
        }
    };
    print(format_args!("ok      {}: AE title {}", arguments.config.display(), config.node.ae_title));
    let mut errors = check_models(&config).await;
    for peer in &config.peers {
        errors += check_peer(&config, peer).await;
    }
    match errors {
        0 => {
            print(format_args!("everything is as it should be"));
            exit::DONE
        }
        1 => {
            print(format_args!("1 error"));
            exit::FAILED
        }
        n => {
            print(format_args!("{n} errors"));
            exit::FAILED
        }
    }
}

/// Packages, device, golden cases and routes. Gives the number of errors.
async fn check_models(config: &NodeConfig) -> usize {
    let libtorch = libtorch_folder().map_or_else(|| "not found".to_owned(), |folder| folder.display().to_string());
    print(format_args!("ok      libtorch in {libtorch}; {}", cuda()));
    let Packages { models, not_installed, faults } = match packages(&config.node.models) {
        Ok(found) => found,
        Err(error) => {
            print(format_args!("wrong   models in {}: {error}", config.node.models.display()));
            return 1;
        }
    };
    for fault in &faults {
        print(format_args!("wrong   {fault}"));
    }
    for package in &not_installed {
        print(format_args!("absent  {package}"));
    }
    let mut errors = faults.len();
    let device: Result<DeviceChoice, String> = config.node.device.parse();
    let started = match device {
        Ok(device) => {
            tokio::task::spawn_blocking(move || Engine::start(device, models)).await.map_err(|e| e.to_string())
        }
        Err(error) => Err(error),
    };
    let engine = match started.and_then(|engine| engine.map_err(|e| e.to_string())) {
        Ok(engine) => engine,
        Err(error) => {
            print(format_args!("wrong   {error}"));
            return errors + 1;
        }
    };
    for (package, reason) in engine.refused() {
        print(format_args!("wrong   model {}: {reason}", package.manifest().name));
        errors += 1;
    }
    let mut served = Vec::new();
    for package in engine.served() {
        let model = package.manifest();
        let golden = if model.golden.is_some() { "golden case passed" } else { "no golden case" };
        print(format_args!("ok      model {} {}: {golden} on {}", model.name, model.version, engine.device()));
        served.push(model.name.clone());
    }
    for (index, route) in config.routes.iter().enumerate() {
        if !served.contains(&route.model) {
            print(format_args!("wrong   route[{index}].model: there is no usable model «{}»", route.model));
            errors += 1;
        }
    }
    errors + check_per_slice(&config.jobs.per_slice, &engine)
}

/// Models that are to score each slice must be there and be able to.
fn check_per_slice(names: &[String], engine: &Engine) -> usize {
    let mut errors = 0;
    for name in names {
        let model = engine.served().map(|package| package.manifest()).find(|model| model.name == *name);
        let wrong = match model {
            Some(model) if model.input.per_slice().is_some() => continue,
            Some(_) => "its manifest has no [input.per_slice]",
            None => "there is no usable model of this name",
        };
        print(format_args!("wrong   jobs.per_slice: «{name}»: {wrong}"));
        errors += 1;
    }
    errors
}

async fn check_peer(config: &NodeConfig, peer: &Peer) -> usize {
    let address = PeerAddress { ae_title: peer.ae_title.clone(), host: peer.host.clone(), port: peer.port };
    let caller = Caller { calling: config.node.ae_title.clone() };
    match echo::call(&address, &caller, &Timers::from(&config.association)).await {
        Ok((Status::SUCCESS, implementation)) => {
            print(format_args!("ok      peer {address}: answers C-ECHO ({implementation})"));
            0
        }
        Ok((status, _)) => {
            print(format_args!("wrong   peer {address}: answers C-ECHO with {status}"));
            1
        }
        Err(cause) => {
            print(format_args!("wrong   peer {address}: {cause}"));
            1
        }
    }
}
