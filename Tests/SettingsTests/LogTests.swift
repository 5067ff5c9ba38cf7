import Foundation
import Logging
import Synchronization
import Testing

@testable import Settings

@Suite struct LogTests {
    /// The one line that a logger writes for `message`.
    private func line(
        _ format: LogSettings.Format, _ message: Logger.Message, _ metadata: Logger.Metadata
    ) -> String {
        let sink = Sink()
        var logger = Logger(label: "test") { label in
            LineLogHandler(label: label, threshold: LogThreshold(.info), format: format) { sink.add($0) }
        }
        logger[metadataKey: "volume"] = "vol-1"
        logger.debug("not this one")
        logger.info(message, metadata: metadata)
        #expect(sink.lines.count == 1)
        return sink.lines.first ?? ""
    }

    @Test func aTextLineIsOneLineWhateverIsInIt() {
        let text = line(.text, "two\nlines", ["a": "plain", "b": "with space", "c": "\"\u{1b}["])
        #expect(
            text.hasSuffix(" INFO two\\nlines a=plain b=\"with space\" c=\"\\\"\\u001b[\" volume=vol-1\n"), "\(text)")
    }

    @Test func aJSONLineIsOneObjectWithAllFields() throws {
        let text = line(.json, "say \"hi\"\n\u{0}", ["code": "OK", "message": "mine"])
        #expect(text.hasSuffix("\n") && !text.dropLast().contains("\n"))
        let object = try #require(JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: String])
        #expect(object["message"] == "say \"hi\"\n\u{0}")
        #expect(object["field.message"] == "mine")
        #expect(object["level"] == "info")
        #expect(object["logger"] == "test")
        #expect(object["volume"] == "vol-1")
        #expect(object["code"] == "OK")
        let time = try #require(object["time"])
        let style = Date.ISO8601FormatStyle(includingFractionalSeconds: true)
        #expect(try abs(Date(time, strategy: style).timeIntervalSinceNow) < 60)
    }

    @Test func aLevelThatChangesHoldsForLoggersThatAreThereAlready() {
        let sink = Sink()
        let threshold = LogThreshold(.info)
        let logger = Logger(label: "test") { label in
            LineLogHandler(label: label, threshold: threshold, format: .text) { sink.add($0) }
        }
        var own = logger
        own.logLevel = .error
        for level in [Logger.Level.info, .debug, .warning] {
            threshold.level = level
            logger.debug("at \(level)")
            own.info("never")
        }
        #expect(sink.lines.count == 1 && sink.lines.first?.hasSuffix(" DEBUG at debug\n") == true, "\(sink.lines)")
    }

    private final class Sink: Sendable {
        private let state = Mutex<[String]>([])
        func add(_ line: String) { state.withLock { $0.append(line) } }
        var lines: [String] { state.withLock { $0 } }
    }
}
