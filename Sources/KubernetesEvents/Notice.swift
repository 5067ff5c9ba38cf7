import Foundation
import VolumeEvents

/// One event for one object, ready to be posted.
struct Notice: Sendable, Hashable {
    /// A namespaced object of the core API.
    struct Object: Sendable, Hashable {
        enum Kind: String, Sendable {
            case pod = "Pod"
            case claim = "PersistentVolumeClaim"
        }

        var kind: Kind
        var namespace: String
        var name: String
        var uid: String

        /// Whether it can be an object's: its names stand in addresses.
        var isNamed: Bool {
            func isName(_ text: String) -> Bool {
                (1...253).contains(text.utf8.count)
                    && text.utf8.allSatisfy { byte in
                        switch byte {
                        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"),
                            UInt8(ascii: "-"), UInt8(ascii: "."):
                            true
                        default: false
                        }
                    }
            }
            return isName(namespace) && !namespace.contains(".") && isName(name) && !uid.isEmpty
        }
    }

    /// What has to be the same for one to take the place of another.
    struct Series: Sendable, Hashable {
        var object: Object
        var reason: Reason
        var volume: String
    }

    enum Importance: Int, Sendable, Comparable {
        case progress
        case normal
        case warning

        static func < (a: Importance, b: Importance) -> Bool { a.rawValue < b.rawValue }
    }

    var series: Series
    var note: String
    var at: Date

    var reason: Reason { series.reason }
    var object: Object { series.object }

    var importance: Importance {
        reason.isWarning ? .warning : reason.isProgress ? .progress : .normal
    }

    /// Bytes of a note, as events.k8s.io/v1 has it.
    static let longestNote = 1024

    /// The notices of an event: for the claim, and for each pod. `kubectl describe` asks for the events of an object by its UID,
    /// so that a claim whose UID is not known is not told.
    static func all(of event: VolumeEvent) -> [Notice] {
        var objects = event.pods.map { Object(kind: .pod, namespace: $0.namespace, name: $0.name, uid: $0.uid) }
        if let claim = event.claim, let uid = claim.uid {
            objects.append(Object(kind: .claim, namespace: claim.namespace, name: claim.name, uid: uid))
        }
        let note = shortened(event.note)
        return objects.filter(\.isNamed).map { object in
            Notice(
                series: Series(object: object, reason: event.occurrence.reason, volume: event.volume.rawValue),
                note: note, at: event.at)
        }
    }

    /// One line of at most `longestNote` bytes, in whole characters.
    static func shortened(_ note: String) -> String {
        let line = note.split(whereSeparator: \.isNewline).joined(separator: " ")
        guard line.utf8.count > longestNote else { return line }
        let end = " ..."
        var text = line[...]
        while text.utf8.count > longestNote - end.utf8.count { text.removeLast() }
        return text + end
    }
}
