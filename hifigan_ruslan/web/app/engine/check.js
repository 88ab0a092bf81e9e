export function checkMel() { return [] }
