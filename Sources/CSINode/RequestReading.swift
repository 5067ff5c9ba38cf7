import CSI
import CSIRules
import Errors
import Persistence

extension VolumeID {
    /// - Throws: `notFound` where the text cannot name a volume of this driver.
    init(requested text: String) throws {
        guard let id = VolumeID(text) else {
            throw PerSSDError(
                .notFound,
                "there is no volume '\(text.prefix(128))': this driver's ids look like "
                    + "'\(VolumeID(name: "example"))'")
        }
        self = id
    }
}

extension Publication {
    /// What a NodePublishVolume asks for, once its capability is known to be well-formed and supported.
    ///
    /// - Parameter path: the target, as the mount table will show it.
    init(_ capability: VolumeCapability, at path: String, readOnly: Bool) {
        let mode = capability.accessMode?.mode
        let access: Access =
            if case .mount(let mount) = capability.accessType {
                .mount(
                    fileSystem: capability.fileSystem ?? CapabilityRules.defaultFileSystem, flags: mount.mountFlags)
            } else {
                .block
            }
        self.init(
            path: path, access: access,
            isReadOnly: readOnly || mode == .singleNodeReaderOnly || mode == .multiNodeReaderOnly,
            isExclusive: mode == .singleNodeSingleWriter, isShared: mode == .multiNodeReaderOnly)
    }
}

extension PublishRequest {
    /// - Parameter context: what the controller gave; empty where nobody attached the volume.
    init(_ publication: Publication, context: [String: String]) throws {
        self.init(
            publication: publication, epoch: try Self.number(Driver.PublishContextKey.epoch, in: context),
            generation: try Self.number(Driver.PublishContextKey.generation, in: context))
    }

    private static func number(_ key: String, in context: [String: String]) throws -> UInt64? {
        guard let text = context[key] else { return nil }
        guard let number = UInt64(text) else {
            throw PerSSDError(.invalidArgument, "publish_context has \(key) '\(text.prefix(100))', no number")
        }
        return number
    }
}

extension VolumeUse.Pod {
    /// The pod that kubelet publishes a volume for; nil where the context does not tell of all that names it.
    init?(in context: [String: String]) {
        typealias Key = Driver.PodInfoKey
        guard let namespace = context[Key.namespace], let name = context[Key.name], let uid = context[Key.uid],
            ![namespace, name, uid].contains("")
        else { return nil }
        let account = context[Key.serviceAccount]
        self.init(namespace: namespace, name: name, uid: uid, serviceAccount: account?.isEmpty ?? true ? nil : account)
    }
}
