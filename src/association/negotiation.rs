//! Who may associate, and for what (PS3.8 sections 7.1 and 9.3, PS3.7 annex D): functions of the request and the policy.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use dicom_dictionary_std::uids;
use dicom_ul::pdu::{
    AssociationAC, AssociationRQ, PresentationContextResult, PresentationContextResultReason as Answer,
    RequestorRoles as PduRoles, UserVariableItem,
};

use super::error::{Rejection, RejectionReason, Violation};
use super::preference::choose_transfer_syntax;
use crate::config::{May, Peer};
use crate::dicom::ae::AeTitle;
use crate::dicom::encode::{IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME};
use crate::dicom::sop_class::Service;
use crate::dicom::uid::{SopClassUid, TransferSyntaxUid};

/// The DICOM application context (PS3.7 section A.2.1).
pub(super) const APPLICATION_CONTEXT: &str = "1.2.840.10008.3.1.1.1";
/// What stands in the answer for a refused context, where it has no meaning.
const IMPLICIT_LE: &str = uids::IMPLICIT_VR_LITTLE_ENDIAN;

/// Whom we let in.
#[derive(Debug, Clone)]
pub struct AcceptorPolicy {
    /// Our title: the only one that we may be called by.
    pub ae_title: AeTitle,
    /// Those who may call.
    pub peers: Vec<KnownPeer>,
    /// Whether others may call as well.
    pub any_peer: bool,
    /// The longest P-DATA-TF that we take (PS3.8 section D.1), at least 1,024.
    pub max_pdu: u32,
}

/// Someone who may call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownPeer {
    /// Its title.
    pub ae_title: AeTitle,
    /// An address or a name; calls from elsewhere are not its own.
    pub host: String,
    /// What it may ask for.
    pub may: Permissions,
}

/// What a caller may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permissions {
    /// C-ECHO.
    pub echo: bool,
    /// C-STORE.
    pub store: bool,
    /// C-FIND.
    pub find: bool,
}

impl Permissions {
    /// Everything that we serve: for callers whom nobody named, where they are let in.
    pub const ALL: Self = Self { echo: true, store: true, find: true };

    /// Whether a service may be used.
    fn allow(self, service: Service) -> bool {
        match service {
            Service::Verification => self.echo,
            Service::Storage => self.store,
            Service::Query => self.find,
        }
    }
}

impl From<&Peer> for KnownPeer {
    fn from(peer: &Peer) -> Self {
        let may = Permissions {
            echo: peer.may.contains(&May::Echo),
            store: peer.may.contains(&May::Store),
            find: peer.may.contains(&May::Find),
        };
        Self { ae_title: peer.ae_title.clone(), host: peer.host.clone(), may }
    }
}

/// The addresses that host names of peers stand for; a name without an entry could not be looked up. Addresses written as
/// such need none.
pub type HostAddresses = HashMap<String, Vec<IpAddr>>;

impl AcceptorPolicy {
    /// The names, not addresses, of the hosts that a caller with this title may call from.
    pub fn host_names<'a>(&'a self, calling_ae_title: &'a AeTitle) -> impl Iterator<Item = &'a str> {
        let hosts = self.peers.iter().filter(move |peer| peer.ae_title == *calling_ae_title).map(|p| p.host.as_str());
        hosts.filter(|host| host.parse::<IpAddr>().is_err())
    }

    /// What the caller may ask for; nothing where it may not call.
    fn permissions(&self, caller: &AeTitle, address: IpAddr, hosts: &HostAddresses) -> Option<Permissions> {
        let address = address.to_canonical();
        let lives_at = |peer: &&KnownPeer| match peer.host.parse::<IpAddr>() {
            Ok(own) => own.to_canonical() == address,
            Err(_) => {
                hosts.get(&peer.host).is_some_and(|known| known.iter().any(|known| known.to_canonical() == address))
            }
        };
        let mut named = self.peers.iter().filter(|peer| peer.ae_title == *caller);
        if let Some(peer) = named.clone().find(lives_at) {
            return Some(peer.may);
        }
        // A title that is configured keeps its limits, wherever the call comes from.
        self.any_peer.then(|| named.next().map_or(Permissions::ALL, |peer| peer.may))
    }
}

/// An A-ASSOCIATE-RQ, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssociationRequest {
    /// Who calls.
    pub calling_ae_title: AeTitle,
    /// Who is called.
    pub called_ae_title: AeTitle,
    /// Where from.
    pub peer: SocketAddr,
    /// What for.
    pub contexts: Vec<ProposedContext>,
    /// The longest P-DATA-TF that the peer takes; 0 for any.
    pub max_pdu: u32,
    /// Implementation Class UID, as it came.
    pub implementation_class_uid: String,
    /// Implementation Version Name, as it came.
    pub implementation_version_name: String,
    /// Role selections by SOP class.
    pub roles: Vec<(String, Roles)>,
}

/// A presentation context as proposed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProposedContext {
    /// Odd, and there once.
    pub id: u8,
    /// As it came; none where it is no UID.
    pub abstract_syntax: Option<SopClassUid>,
    /// Those that are UIDs, in the requestor's order.
    pub transfer_syntaxes: Vec<TransferSyntaxUid>,
}

/// The roles that the requestor plays for a SOP class (PS3.7 section D.3.3.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roles {
    /// It asks.
    pub scu: bool,
    /// It serves.
    pub scp: bool,
}

impl Roles {
    /// Without a role selection the requestor is the SCU.
    pub const DEFAULT: Self = Self { scu: true, scp: false };
}

/// A presentation context that both sides agreed on; made by negotiation only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptedContext {
    pub(super) id: u8,
    pub(super) abstract_syntax: SopClassUid,
    pub(super) transfer_syntax: TransferSyntaxUid,
    pub(super) roles: Roles,
}

impl AcceptedContext {
    /// Its id, odd.
    #[must_use]
    pub fn id(&self) -> u8 {
        self.id
    }

    /// What it is for.
    #[must_use]
    pub fn abstract_syntax(&self) -> &SopClassUid {
        &self.abstract_syntax
    }

    /// How its data sets are encoded.
    #[must_use]
    pub fn transfer_syntax(&self) -> &TransferSyntaxUid {
        &self.transfer_syntax
    }

    /// The requestor's roles.
    #[must_use]
    pub fn roles(&self) -> Roles {
        self.roles
    }
}

/// What becomes of a request.
#[derive(Debug)]
pub(super) enum Decision {
    Accept { contexts: Vec<Arc<AcceptedContext>>, answer: AssociationAC },
    Reject(Rejection),
}

impl AssociationRequest {
    /// Reads the PDU; the outer result is what is wrong with it as a PDU, the inner one what is not for us.
    pub(super) fn read(pdu: &AssociationRQ, peer: SocketAddr) -> Result<Result<Self, Rejection>, Violation> {
        let rejected = |reason| Ok(Err(Rejection::permanent(reason)));
        // Only bit 0 is to be tested (PS3.8 section 9.3.2).
        if pdu.protocol_version & 1 == 0 {
            return rejected(RejectionReason::ProtocolVersion);
        }
        let contexts = read_contexts(pdu)?;
        if pdu.application_context_name.trim_end_matches(['\0', ' ']) != APPLICATION_CONTEXT {
            return rejected(RejectionReason::ApplicationContextName);
        }
        let Ok(called_ae_title) = AeTitle::parse(&pdu.called_ae_title) else {
            return rejected(RejectionReason::CalledAeTitle);
        };
        let Ok(calling_ae_title) = AeTitle::parse(&pdu.calling_ae_title) else {
            return rejected(RejectionReason::CallingAeTitle);
        };
        let mut request = Self {
            calling_ae_title,
            called_ae_title,
            peer,
            contexts,
            max_pdu: 0,
            implementation_class_uid: String::new(),
            implementation_version_name: String::new(),
            roles: Vec::new(),
        };
        for variable in &pdu.user_variables {
            request.take_user_variable(variable);
        }
        // No fragment fits, or nobody asked for anything.
        if request.contexts.is_empty() || (1..64).contains(&request.max_pdu) {
            return rejected(RejectionReason::NoReason);
        }
        Ok(Ok(request))
    }

    /// User identities, extended negotiations and operation windows are left unanswered, which means: not supported.
    fn take_user_variable(&mut self, variable: &UserVariableItem) {
        match variable {
            UserVariableItem::MaxLength(length) => self.max_pdu = *length,
            UserVariableItem::ImplementationClassUID(uid) => self.implementation_class_uid = printable(uid),
            UserVariableItem::ImplementationVersionName(name) => self.implementation_version_name = printable(name),
            UserVariableItem::ScuScpRoleSelectionSubItem(uid, roles) => {
                let uid = uid.trim_end_matches('\0').to_owned();
                self.roles.push((uid, Roles { scu: roles.scu, scp: roles.scp }));
            }
            _ => {}
        }
    }
}

/// Text of a peer as it may stand in a log.
pub(super) fn printable(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(64).collect::<String>().trim().to_owned()
}

fn read_contexts(pdu: &AssociationRQ) -> Result<Vec<ProposedContext>, Violation> {
    let mut contexts: Vec<ProposedContext> = Vec::new();
    let mut seen = [false; 256];
    for context in &pdu.presentation_contexts {
        // Odd and unique (PS3.8 section 9.3.2.2): after this there are 128 at most.
        if context.id % 2 == 0 || std::mem::replace(&mut seen[usize::from(context.id)], true) {
            return Err(Violation::ContextId(context.id));
        }
        let syntaxes = context.transfer_syntaxes.iter().filter_map(|uid| TransferSyntaxUid::parse(uid).ok());
        contexts.push(ProposedContext {
            id: context.id,
            abstract_syntax: SopClassUid::parse(&context.abstract_syntax).ok(),
            transfer_syntaxes: syntaxes.collect(),
        });
    }
    Ok(contexts)
}

/// Decides on a request.
pub(super) fn decide(request: &AssociationRequest, policy: &AcceptorPolicy, hosts: &HostAddresses) -> Decision {
    if request.called_ae_title != policy.ae_title {
        return Decision::Reject(Rejection::permanent(RejectionReason::CalledAeTitle));
    }
    let Some(may) = policy.permissions(&request.calling_ae_title, request.peer.ip(), hosts) else {
        // Where a name could not be looked up, whether the caller may call is not known now.
        let unknown = policy.host_names(&request.calling_ae_title).any(|name| !hosts.contains_key(name));
        let refusal = Rejection::permanent(RejectionReason::CallingAeTitle);
        return Decision::Reject(if unknown { Rejection::CONGESTION } else { refusal });
    };
    let mut contexts = Vec::new();
    let mut results = Vec::new();
    for proposed in &request.contexts {
        let (result, syntax) = match decide_context(proposed, may, request) {
            Ok(context) => {
                let syntax = context.transfer_syntax.as_str().to_owned();
                contexts.push(Arc::new(context));
                (Answer::Acceptance, syntax)
            }
            Err(refusal) => (refusal, IMPLICIT_LE.to_owned()),
        };
        results.push(PresentationContextResult { id: proposed.id, reason: result, transfer_syntax: syntax });
    }
    let answer = AssociationAC {
        protocol_version: 1,
        calling_ae_title: request.calling_ae_title.as_str().to_owned(),
        called_ae_title: request.called_ae_title.as_str().to_owned(),
        application_context_name: APPLICATION_CONTEXT.to_owned(),
        presentation_contexts: results,
        user_variables: user_variables(policy.max_pdu, answered_roles(request, &contexts)),
    };
    Decision::Accept { contexts, answer }
}

fn decide_context(
    proposed: &ProposedContext,
    may: Permissions,
    request: &AssociationRequest,
) -> Result<AcceptedContext, Answer> {
    let abstract_syntax = proposed.abstract_syntax.clone().ok_or(Answer::AbstractSyntaxNotSupported)?;
    let service = Service::of(&abstract_syntax).ok_or(Answer::AbstractSyntaxNotSupported)?;
    if !may.allow(service) {
        return Err(Answer::UserRejection);
    }
    let transfer_syntax = choose_transfer_syntax(service, &proposed.transfer_syntaxes)
        .ok_or(Answer::TransferSyntaxesNotSupported)?
        .clone();
    let asked = request.roles.iter().find(|(uid, _)| uid == abstract_syntax.as_str()).map(|(_, roles)| *roles);
    let roles = asked.map_or(Roles::DEFAULT, |asked| agreed_roles(service, asked));
    Ok(AcceptedContext { id: proposed.id, abstract_syntax, transfer_syntax, roles })
}

/// Which of the proposed roles we agree to. As yet we are the SCP of everything that we serve.
fn agreed_roles(service: Service, asked: Roles) -> Roles {
    match service {
        Service::Verification | Service::Storage | Service::Query => Roles { scu: asked.scu, scp: false },
    }
}

fn answered_roles(request: &AssociationRequest, contexts: &[Arc<AcceptedContext>]) -> Vec<UserVariableItem> {
    let mut items = Vec::new();
    for (uid, _) in &request.roles {
        if let Some(context) = contexts.iter().find(|context| context.abstract_syntax.as_str() == uid) {
            let roles = PduRoles { scu: context.roles.scu, scp: context.roles.scp };
            items.push(UserVariableItem::ScuScpRoleSelectionSubItem(uid.clone(), roles));
        }
    }
    items
}

/// The user information that either side sends: its limits and who made it.
pub(super) fn user_variables(max_pdu: u32, more: Vec<UserVariableItem>) -> Vec<UserVariableItem> {
    let mut items = vec![
        UserVariableItem::MaxLength(max_pdu),
        UserVariableItem::ImplementationClassUID(IMPLEMENTATION_CLASS_UID.to_owned()),
        UserVariableItem::ImplementationVersionName(IMPLEMENTATION_VERSION_NAME.to_owned()),
    ];
    items.extend(more);
    items
}

#[cfg(test)]
mod tests;
