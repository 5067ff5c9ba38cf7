/// What stands in for the value of a secret field wherever a message is shown. It does not hold the value.
struct Redacted: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    let isEmpty: Bool

    init(_ secret: some Collection) { isEmpty = secret.isEmpty }

    var description: String { isEmpty ? "" : "***stripped***" }
    var debugDescription: String { description }
    var customMirror: Mirror { Mirror(self, children: []) }
}
