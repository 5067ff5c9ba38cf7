import Foundation

/// An event as the core API has it.
///
/// Not events.k8s.io/v1, though both end up as the same objects: there a note never changes once it is made, so that each step of a
/// progress would be an object of its own. Here one event is brought up to date, and `kubectl describe` shows it as one line, with
/// how often and for how long.
struct EventObject: Encodable, Sendable {
    let apiVersion = "v1"
    let kind = "Event"
    var metadata: Metadata
    var involvedObject: Reference
    var reason: String
    var message: String
    var type: String
    var action: String
    var source: Source
    var reportingComponent: String
    var reportingInstance: String
    var firstTimestamp: String
    var lastTimestamp: String
    var count: Int

    struct Metadata: Encodable, Sendable {
        var name: String
        var namespace: String
    }

    struct Reference: Encodable, Sendable {
        let apiVersion = "v1"
        var kind: String
        var namespace: String
        var name: String
        var uid: String
    }

    struct Source: Encodable, Sendable {
        var component: String
        var host: String
    }

    /// - Parameters:
    ///   - name: of the event itself.
    ///   - reporter: the driver's name.
    ///   - instance: which of its processes; the node, for one of a node.
    init(_ notice: Notice, named name: String, by reporter: String, _ instance: String) {
        let object = notice.object
        metadata = Metadata(name: name, namespace: object.namespace)
        involvedObject = Reference(
            kind: object.kind.rawValue, namespace: object.namespace, name: object.name, uid: object.uid)
        reason = notice.reason.rawValue
        message = notice.note
        type = notice.reason.isWarning ? "Warning" : "Normal"
        action = notice.reason.action.rawValue
        source = Source(component: reporter, host: instance)
        reportingComponent = reporter
        // As long as the API server takes it.
        reportingInstance = String(instance.prefix(128))
        firstTimestamp = Self.text(notice.at)
        lastTimestamp = firstTimestamp
        count = 1
    }

    /// RFC 3339, whole seconds.
    static func text(_ date: Date) -> String { date.formatted(.iso8601) }

    /// A name for an event on an object: what the object's begins with, and 16 random digits.
    static func name(for object: String) -> String {
        let digits = String(UInt64.random(in: 0...UInt64.max), radix: 16)
        let suffix = "." + String(repeating: "0", count: 16 - digits.count) + digits
        var prefix = object.prefix(253 - suffix.count)
        while let last = prefix.last, last == "." || last == "-" { prefix.removeLast() }
        return prefix + suffix
    }
}

/// What changes of an event that takes the place of the one before.
struct EventChange: Encodable, Sendable {
    var message: String
    var lastTimestamp: String
    var count: Int
}
