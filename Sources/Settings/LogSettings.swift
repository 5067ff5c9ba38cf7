import Errors
import Logging

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
    public func bootstrap() {
        let (level, format) = (level, format)
        LoggingSystem.bootstrap { label in
            LineLogHandler(label: label, logLevel: level, format: format)
        }
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
