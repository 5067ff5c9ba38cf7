import Errors
import Foundation
import RPC
import Testing

@testable import CSI

/// Fields marked `csi_secret` never show, whichever way a message is printed.
@Suite struct SecretTests {
    static let key = "canary-key", value = "canary-value"

    /// Every message with secret fields, with secrets in them, and the names of those fields.
    private func secretiveMessages() throws -> [any CSIMessage] {
        let facts = try Fact.specification().filter { $0.options.contains("1059") }
        #expect(facts.count == 19)
        return try facts.map { fact in
            let type = try #require(allMessages.first { $0.fullName == fact.owner })
            let bytes = WireBytes.entry(try #require(UInt64(fact.number)), Self.key, Self.value)
            let message = try type.decode(bytes)
            // The message itself does hold them.
            try #require(try message.encode() == bytes)
            return message
        }
    }

    private struct Holder {
        let request: any CSIMessage
        let name = "holder"
    }

    /// Every way of Swift's to turn a value into text.
    private func texts(_ value: Any) -> [String: String] {
        var texts: [String: String] = [:]
        var output = ""
        print(value, to: &output)
        texts["print"] = output
        output = ""
        debugPrint(value, to: &output)
        texts["debugPrint"] = output
        output = ""
        dump(value, to: &output)
        texts["dump"] = output
        texts["interpolation"] = "\(value)"
        texts["describing"] = String(describing: value)
        texts["reflecting"] = String(reflecting: value)
        texts["mirror"] = walk(Mirror(reflecting: value))
        return texts
    }

    private func walk(_ mirror: Mirror) -> String {
        mirror.children.map { "\($0.label ?? ""): \($0.value) \(walk(Mirror(reflecting: $0.value)))" }.joined()
    }

    @Test func secretsNeverShow() throws {
        for message in try secretiveMessages() {
            let name = type(of: message).fullName
            let values: [Any] = [
                message, Optional(message) as Any, [message], ["k": message], (1, message), Holder(request: message),
                Result<any CSIMessage, any Error>.success(message), [[message, message]],
            ]
            for value in values {
                for (means, text) in texts(value) {
                    #expect(!text.contains("canary"), "\(name) by \(means): \(text)")
                    #expect(text.contains("***stripped***"), "\(name) by \(means): \(text)")
                }
            }
            #expect(!message.description(limit: 10_000).contains("canary"))
            let context = RPCContext(path: "/csi.v1.Node/X", deadline: nil, metadata: [], peer: "")
            for (means, text) in texts(ServedCall(request: message, context: context)) {
                #expect(!text.contains("canary"), "\(name), served, by \(means): \(text)")
            }
        }
    }

    @Test func redactionHoldsNothing() {
        let redacted = Redacted([Self.key: Self.value])
        for (means, text) in texts(redacted) { #expect(!text.contains("canary"), "\(means): \(text)") }
    }

    @Test func emptySecretsAreNotShownAsSecrets() {
        #expect(DeleteVolumeRequest(volumeID: "v").description == #"DeleteVolumeRequest(volumeID: "v")"#)
    }

    /// An error about a malformed message names the field, and shows nothing of it.
    @Test func errorsDoNotShowSecrets() throws {
        for fact in try Fact.specification() where fact.options.contains("1059") {
            let type = try #require(allMessages.first { $0.fullName == fact.owner })
            let number = try #require(UInt64(fact.number))
            let whole = WireBytes.entry(number, Self.key, Self.value)
            let malformed = [
                WireBytes.entry(number, Self.key + "\0", Self.value),
                WireBytes.entry(number, Self.key, "\0" + Self.value),
                WireBytes.field(number, WireBytes.field(2, Array(Self.value.utf8) + [0xff])), Array(whole.dropLast()),
            ]
            for bytes in malformed {
                let error = #expect(throws: PerSSDError.self) { try type.decode(bytes) }
                let text = "\(error.map { RPCStatus($0).description } ?? "") \(String(reflecting: error))"
                #expect(text.contains(fact.name))
                #expect(!text.contains("canary"), "\(text)")
            }
        }
    }
}
