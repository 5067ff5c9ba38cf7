import CSI
import Errors
import Persistence

/// The argument rules of the node service (CSI specification, "Node Service RPC").
enum RequestChecks {
    /// What a capability asks for, in this driver's terms.
    struct Capability {
        enum Access {
            case block
            case mount(fileSystem: String, flags: [String])
        }

        var access: Access
        var mode: VolumeCapability.AccessMode.Mode
    }

    static let defaultFileSystem = "ext4"

    /// What has to be there is asked for before anything is looked at.
    static func present(_ text: String, _ field: String) throws {
        if text.isEmpty { throw missing(field) }
    }

    /// - Throws: `notFound` where it cannot name a volume of this driver.
    static func volume(_ text: String) throws -> VolumeID {
        guard let id = VolumeID(text) else {
            throw PerSSDError(
                .notFound,
                "there is no volume '\(text.prefix(128))': this driver's ids look like "
                    + "'\(VolumeID(name: "example"))'")
        }
        return id
    }

    /// An absolute path without detours.
    static func path(_ text: String, _ field: String) throws -> String {
        let segments = text.utf8.split(separator: UInt8(ascii: "/"))
        guard text.utf8.first == UInt8(ascii: "/"), text.utf8.count < 4096, !segments.isEmpty,
            !segments.contains(where: { $0.elementsEqual("..".utf8) || $0.elementsEqual(".".utf8) })
        else {
            throw PerSSDError(
                .invalidArgument,
                "\(field) '\(text.prefix(200))' is no absolute path without '.' and '..' of up to 4095 bytes")
        }
        return "/" + segments.map { String(decoding: $0, as: UTF8.self) }.joined(separator: "/")
    }

    static func capability(_ capability: VolumeCapability?, _ field: String) throws -> Capability {
        guard let capability else { throw missing(field) }
        guard let mode = capability.accessMode?.mode, mode != .unknown else { throw missing("\(field).access_mode") }
        switch mode {
        case .singleNodeWriter, .singleNodeReaderOnly, .singleNodeSingleWriter, .singleNodeMultiWriter: break
        default:
            throw PerSSDError(
                .invalidArgument, "\(field) asks for access by many nodes, and a volume has one node at a time",
                remedy: "use ReadWriteOnce or ReadWriteOncePod")
        }
        switch capability.accessType {
        case .block: return Capability(access: .block, mode: mode)
        case .mount(let mount):
            guard mount.volumeMountGroup.isEmpty else {
                throw PerSSDError(.invalidArgument, "\(field).mount.volume_mount_group is not supported by this driver")
            }
            let fileSystem = mount.fsType.isEmpty ? defaultFileSystem : mount.fsType
            return Capability(access: .mount(fileSystem: fileSystem, flags: mount.mountFlags), mode: mode)
        case nil: throw missing("\(field).access_type")
        }
    }

    /// The epoch in a publish context; nil where nobody attached the volume.
    static func epoch(_ context: [String: String]) throws -> UInt64? {
        guard let text = context[Driver.PublishContextKey.epoch] else { return nil }
        guard let epoch = UInt64(text) else {
            throw PerSSDError(
                .invalidArgument,
                "publish_context has \(Driver.PublishContextKey.epoch) '\(text.prefix(100))', no number")
        }
        return epoch
    }

    private static func missing(_ field: String) -> PerSSDError {
        PerSSDError(.invalidArgument, "\(field) is missing")
    }
}
