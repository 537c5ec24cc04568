//! Debian's Orthanc, driven over its REST interface.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use serde_json::{Value as Json, json};

use super::peers::{Server, free_port, wait_until};
use super::running_node::RunningNode;

/// Its AE title.
pub(crate) const TITLE: &str = "ORTHANC";

/// An Orthanc in a folder and on ports of its own.
pub(crate) struct Orthanc {
    _process: Server,
    _folder: tempfile::TempDir,
    http: u16,
    dicom: u16,
}

impl Orthanc {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (http, dicom) = (free_port(), free_port());
        let config = json!({
            "Name": TITLE, "DicomAet": TITLE, "DicomPort": dicom, "HttpPort": http,
            "StorageDirectory": folder.path().join("db"), "IndexDirectory": folder.path().join("db"),
            "RemoteAccessAllowed": false, "AuthenticationEnabled": false, "DicomCheckCalledAet": true,
        });
        let file = folder.path().join("orthanc.json");
        std::fs::write(&file, config.to_string()).unwrap();
        let mut process = Server::start(Command::new("Orthanc").arg(&file), &folder.path().join("log"));
        let log = folder.path().join("log");
        wait_until("Orthanc answers", || {
            assert!(!process.has_ended(), "{}", std::fs::read_to_string(&log).unwrap());
            TcpStream::connect(("127.0.0.1", http)).is_ok() && TcpStream::connect(("127.0.0.1", dicom)).is_ok()
        });
        Self { _process: process, _folder: folder, http, dicom }
    }

    /// Where it accepts associations, on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.dicom
    }

    /// As `--to` of the tools wants it.
    pub(crate) fn address(&self) -> String {
        format!("{TITLE}@127.0.0.1:{}", self.dicom)
    }

    /// Makes the node one of its modalities, `overread`.
    pub(crate) fn introduce(&self, node: &RunningNode) {
        let modality = json!({
            "AET": "OVERREAD", "Host": "127.0.0.1", "Port": node.port(),
            "AllowEcho": true, "AllowStore": true, "AllowFind": true,
        });
        self.ask("PUT", "/modalities/overread", modality.to_string().as_bytes());
    }

    /// Puts a file into it; gives Orthanc's own answer.
    pub(crate) fn upload(&self, path: &Path) -> Json {
        self.ask("POST", "/instances", &std::fs::read(path).unwrap())
    }

    pub(crate) fn get(&self, path: &str) -> Json {
        self.ask("GET", path, b"")
    }

    pub(crate) fn post(&self, path: &str, body: &Json) -> Json {
        self.ask("POST", path, body.to_string().as_bytes())
    }

    /// Asks the node by C-FIND; the answers by keyword.
    pub(crate) fn query(&self, level: &str, keys: &Json) -> Vec<Json> {
        let made = self.post("/modalities/overread/query", &json!({ "Level": level, "Query": keys }));
        let path = format!("{}/answers", made["Path"].as_str().unwrap());
        let answers = self.get(&path);
        let answers = answers.as_array().unwrap().iter().map(|n| n.as_str().unwrap().to_owned());
        answers.map(|n| self.get(&format!("{path}/{n}/content?simplify"))).collect()
    }

    /// What stands behind a path, byte for byte.
    pub(crate) fn bytes(&self, method: &str, path: &str, body: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.http)).unwrap();
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|w| w == b"\r\n\r\n").expect("an HTTP answer");
        let head = String::from_utf8_lossy(&answer[..end]).into_owned();
        let content = answer.split_off(end + 4);
        let status = head.split(' ').nth(1).unwrap();
        assert_eq!(status, "200", "{method} {path}: {head}\n{}", String::from_utf8_lossy(&content));
        assert!(!head.to_lowercase().contains("chunked"), "{head}");
        content
    }

    fn ask(&self, method: &str, path: &str, body: &[u8]) -> Json {
        let content = self.bytes(method, path, body);
        if content.is_empty() { Json::Null } else { serde_json::from_slice(&content).unwrap() }
    }
}
