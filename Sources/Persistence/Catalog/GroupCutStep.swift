/// What a controller asks of the nodes that have volumes of a group, in this order.
public enum GroupCutStep: String, Sendable {
    /// Wait until nothing stands in the way of a cut.
    case prepare
    /// Hold the volumes still, and cut them.
    case hold
    /// All are cut: let them go on, and commit the cuts.
    case release
    /// Let them go on, and forget the cuts.
    case abandon
    /// Afterwards: say whether the cuts are still on their way.
    case confirm
}
