import Errors
import Logging
import Synchronization

/// What is logged, and how it looks.
public struct LogSettings: Sendable, Equatable {
    public enum Format: String, Sendable, CaseIterable {
        /// One line for people: time, level, message, then key=value.
        case text
        /// One JSON object a line.
        case json
    }

    public var level: Logger.Level
    public var format: Format

    public init(level: Logger.Level = .info, format: Format = .text) { (self.level, self.format) = (level, format) }

    init(_ values: [Setting: Given]) throws {
        self.init()
        if let given = values[.logLevel] { level = try given.choice(Logger.Level.allCases) }
        if let given = values[.logFormat] { format = try given.choice(Format.allCases) }
    }

    /// Makes these the settings of all loggers of the process, on standard error. Once in a process's life.
    ///
    /// - Returns: what changes their level afterwards.
    @discardableResult
    public func bootstrap() -> LogThreshold {
        let threshold = LogThreshold(level)
        LoggingSystem.bootstrap { [format] label in
            LineLogHandler(label: label, threshold: threshold, format: format)
        }
        return threshold
    }
}

/// The least level that is logged, for all loggers of the process together; it may change while they are used.
public final class LogThreshold: Sendable {
    private let current: Mutex<Logger.Level>

    public init(_ level: Logger.Level) { current = Mutex(level) }

    public var level: Logger.Level {
        get { current.withLock { $0 } }
        set { current.withLock { $0 = newValue } }
    }
}

extension Given {
    /// The value whose name was given.
    func choice<Value: RawRepresentable<String>>(_ all: [Value]) throws -> Value {
        guard let value = all.first(where: { $0.rawValue == text }) else {
            throw PerSSDError(
                .invalidArgument, "\(source): '\(text.prefix(100))' is not known",
                remedy: "give one of \(all.map(\.rawValue).joined(separator: ", "))")
        }
        return value
    }

    func number(in range: ClosedRange<Int>) throws -> Int {
        guard let value = Int(text), range.contains(value) else {
            throw PerSSDError(
                .invalidArgument, "\(source): '\(text.prefix(100))' is not what is needed",
                remedy: "give a whole number from \(range.lowerBound) to \(range.upperBound)")
        }
        return value
    }
}
