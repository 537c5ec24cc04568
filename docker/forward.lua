-- Sends each CT series to overread when nothing has come for StableAge seconds. Results come back as SR and SEG, which
-- are not sent on, so nothing runs in circles.
function OnStableSeries(seriesId, tags, metadata)
  if tags['Modality'] == 'CT' then
    RestApiPost('/modalities/overread/store', seriesId)
  end
end
