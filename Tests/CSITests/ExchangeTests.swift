import Foundation
import Testing

@testable import CSI

/// Messages exchanged with Python's protobuf, which shares nothing with protobuf-c.
@Suite struct ExchangeTests {
    /// Random messages of every type from Python; Swift reads them and writes them back.
    @Test func messagesFromPython() async throws {
        try await withTemporaryDirectory { directory in
            let (sent, returned) = (directory.appending(path: "sent"), directory.appending(path: "returned"))
            try await python("exchange.py", "generate", "20250107", "40", sent.path)
            let messages = try ExchangedMessage.read(sent)
            #expect(messages.count == 40 * allMessages.count)
            let decoded = try messages.map { try $0.type.decode($0.bytes) as any CSIMessage }
            for message in decoded { try expectSameAfterCoding(message) }
            try ExchangedMessage.write(decoded, to: returned)
            try await python("exchange.py", "compare", sent.path, returned.path)
        }
    }

    /// Messages that Swift makes; Python must see the same values under the same names.
    @Test func messagesFromSwift() async throws {
        try await withTemporaryDirectory { directory in
            let file = directory.appending(path: "messages")
            for message in SampleMessages.all { try expectSameAfterCoding(message) }
            try ExchangedMessage.write(SampleMessages.all, to: file)
            try await python("exchange.py", "read", file.path)
        }
    }

    /// What Swift takes of damaged messages means the same to Python.
    @Test func damagedMessagesMeanTheSame() async throws {
        var numbers = SeededNumbers(seed: 114)
        var accepted: [(any CSIMessage, [UInt8])] = []
        for sample in SampleMessages.all {
            let (original, type) = (try sample.encode(), type(of: sample))
            for _ in 0..<1000 {
                let bytes = numbers.damaged(original)
                if let message = try? type.decode(bytes) as any CSIMessage { accepted.append((message, bytes)) }
            }
        }
        #expect(accepted.count > 2000)
        try await withTemporaryDirectory { directory in
            let file = directory.appending(path: "accepted")
            try ExchangedMessage.write(accepted, to: file)
            let compared = try await python("exchange.py", "accept", file.path)
            #expect(try #require(Int(compared.dropLast())) > accepted.count * 9 / 10)
        }
    }

    private func expectSameAfterCoding<Message: CSIMessage>(_ message: Message) throws {
        let bytes = try message.encode()
        let again = try Message.decode(bytes)
        #expect(again == message)
        #expect(try again.encode() == bytes)
    }
}
